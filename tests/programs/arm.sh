#!/bin/bash
# The golden results (golden.py) on 64-bit Arm: compiled kernels of the portable set, under qemu's user emulation.
#
#   bash tests/programs/arm.sh [FOLDER]       FOLDER (default: .venv/arm) keeps the Debian files and wheels, about 700 MB
#
# Needs Debian's qemu-user-static and debootstrap, and PyPI. Nearly all its time is compiling under emulation, some half
# an hour beside other work (it prints how long), so it is no part of CI.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(realpath -m "${1:-.venv/arm}")
python=3.11 suite=bookworm
for tool in qemu-aarch64-static debootstrap; do
    command -v "$tool" > /dev/null || { echo "no $tool: apt-get install qemu-user-static debootstrap" >&2; exit 2; }
done
mkdir -p "$folder"
if [ ! -e "$folder/root/.complete" ]; then
    rm -rf "$folder/root"
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 "$suite" "$folder/root"
    for package in "$folder"/root/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
    touch "$folder/root/.complete"
fi
if [ ! -e "$folder/site/.complete" ]; then
    rm -rf "$folder/site"
    platforms=(--platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64)
    python3 -m pip install -q --target "$folder/site" --no-deps --only-binary=:all: --python-version "$python" \
        "${platforms[@]}" numba llvmlite numpy
    touch "$folder/site/.complete"
fi
export PYTHONPATH="$folder/site:$PWD" PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR="$folder/cache"
run() { qemu-aarch64-static -L "$folder/root" "$folder/root/usr/bin/python$python" "$@"; }
run -c 'import platform, numba; print(platform.machine(), "numba", numba.__version__)'
echo "the numpy reference:" && NUMBA_DISABLE_JIT=1 run tests/programs/golden.py
echo "compiled:" && run tests/programs/golden.py
echo "$((SECONDS / 60)) minutes"
