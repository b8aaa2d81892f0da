#!/bin/bash
# The oldest and the newest numba and numpy that pyproject.toml allows, each in an environment of its own: golden
# results, and the tests that are nearest to numba and numpy.
#
#   bash tests/programs/versions.sh [TESTS …]         (make versions)
set -euo pipefail
cd "$(dirname "$0")/../.."
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(tests/contracts/test_jit.py tests/process/test_lifetimes.py tests/process/test_builtin.py tests/operators/linear/test_linear_arrays.py
    tests/contracts/test_inputs.py tests/process/test_threads.py tests/operators/quantize/test_conversion.py)
bound() { sed -nE "s/^dependencies = .*\"$1>=([0-9.]+)\".*/\1/p" pyproject.toml; }
oldest="numba==$(bound numba).* llvmlite==$(bound llvmlite).* numpy==$(bound numpy).*"
for which in oldest newest; do
    environment=.venv/versions-$which
    [ -d "$environment" ] || python3 -m venv "$environment"
    pins="numba numpy"
    [ $which = newest ] || pins=$oldest
    # shellcheck disable=SC2086 (words)
    "$environment/bin/python" -m pip install -q --disable-pip-version-check -U -e '.[test]' $pins
    "$environment/bin/python" -c 'import numba, llvmlite, numpy
print(*(f"{m.__name__} {m.__version__}" for m in (numba, llvmlite, numpy)), sep=", ")'
    export NUMBA_CACHE_DIR="$PWD/$environment/cache"
    "$environment/bin/python" tests/programs/golden.py
    "$environment/bin/python" -m pytest -q "${tests[@]}"
done
