#!/bin/bash
# The quick tier on other Pythons than the one that `make` uses: each in an environment of its own.
#
#   bash tests/programs/pythons.sh [PYTHON …]        default: what python3.11 … python3.14 are on PATH (see debian.sh)
#
# Says for each whether the fast path of calls, which reads CPython's object layout, is active or has fallen back.
set -euo pipefail
cd "$(dirname "$0")/../.."
pythons=("$@")
if [ ${#pythons[@]} -eq 0 ]; then
    for minor in 11 12 13 14; do
        if found=$(command -v "python3.$minor") && "$found" -c "" 2> /dev/null; then pythons+=("$found"); fi
    done
fi
[ ${#pythons[@]} -gt 0 ] || { echo "no python3.11 … python3.14 on PATH: name them" >&2; exit 2; }
for python in "${pythons[@]}"; do
    version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
    environment=.venv/python-$version
    [ -d "$environment" ] || "$python" -m venv "$environment"
    "$environment/bin/python" -m pip install -q --disable-pip-version-check -e '.[test]'
    "$environment/bin/python" -c 'import sys, numba, numpy; from dynq_numba.runtime import builtin
print(f"Python {sys.version.split()[0]}, numba {numba.__version__}, numpy {numpy.__version__}:",
      "fast path of calls", "active" if builtin.POSSIBLE else "not possible, calls go through the interpreter")'
    export NUMBA_CACHE_DIR="$PWD/$environment/cache"
    "$environment/bin/python" -m dynq_numba warmup --quiet --jobs 2
    "$environment/bin/python" tests/programs/golden.py
    "$environment/bin/python" -m pytest -q --numprocesses 2 --dist worksteal -m "quick and not alone"
    "$environment/bin/python" -m pytest -q -m "quick and alone" tests/process
done
