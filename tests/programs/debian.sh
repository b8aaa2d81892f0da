#!/bin/bash
# Golden results, and the fast path of calls, on the Python of a Debian release: for Pythons that this machine has not.
#
#   bash tests/programs/debian.sh [SUITE [FOLDER]]     SUITE: sid (default), trixie …; FOLDER (default: .venv/SUITE) keeps
#                                                      Debian's files, wheels and kernels, about 1 GB
#
# As root, on Linux; needs Debian's debootstrap, and PyPI.
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=${1:-sid}
root=$(realpath -m "${2:-.venv/$suite}")
command -v debootstrap > /dev/null || { echo "no debootstrap: apt-get install debootstrap" >&2; exit 2; }
if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    debootstrap --foreign --variant=minbase --include=python3 "$suite" "$root"
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    python=$(basename "$(ls "$root"/usr/bin/python3.?? | tail -1)")
    version=${python#python}
    platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 any)
    # shellcheck disable=SC2046 (words)
    python3 -m pip install -q --disable-pip-version-check --target "$root/site" --only-binary=:all: \
        --python-version "$version" --implementation cp --abi "cp${version/./}" --abi abi3 --abi none \
        $(printf -- '--platform %s ' "${platforms[@]}") numba numpy pytest pytest-benchmark hypothesis ml_dtypes
    mkdir -p "$root"/{work,proc,dev}
    touch "$root/.complete"
fi
python=$(basename "$(ls "$root"/usr/bin/python3.?? | tail -1)")
for folder in work proc dev; do
    from=/$folder
    [ $folder = work ] && from=$PWD
    mount --bind "$from" "$root/$folder"
done
trap 'umount "$root/work" "$root/proc" "$root/dev"' EXIT
run() {
    chroot "$root" /usr/bin/env -C /work PYTHONPATH=/work:/site NUMBA_CACHE_DIR=/cache PYTHONDONTWRITEBYTECODE=1 \
        HOME=/tmp "/usr/bin/$python" "$@"
}
run -c 'import sys, numba, numpy; from dynq_numba.runtime import builtin
print(f"Python {sys.version.split()[0]}, numba {numba.__version__}, numpy {numpy.__version__}:",
      "fast path of calls", "active" if builtin.POSSIBLE else "not possible, calls go through the interpreter")'
run tests/programs/golden.py
run -m pytest -q -p no:cacheprovider tests/process/test_builtin.py
