#!/bin/bash
# The golden results (golden.py), the exactness of the dot, and an artifact in our session and in ONNX Runtime
# (artifact.py), on a CPU with AVX2 and without VNNI, under qemu's user emulation. Kernels are compiled natively for
# that CPU first, so that the emulator only runs them.
#
#   bash tests/programs/haswell.sh [FOLDER]       FOLDER (default: .venv/haswell) keeps the compiled kernels
#
# Needs Debian's qemu-user and, to compile, a CPU with AVX2.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(realpath -m "${1:-.venv/haswell}")
command -v qemu-x86_64 > /dev/null || { echo "no qemu-x86_64: apt-get install qemu-user" >&2; exit 2; }
python=$(realpath .venv/bin/python)
emulated() { qemu-x86_64 -cpu Haswell "$python" "$@" 2> >(grep -v "TCG doesn't support requested feature" >&2); }
PYTHONPATH=$PWD:$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
export PYTHONPATH NUMBA_CACHE_DIR="$folder" NUMBA_CPU_NAME=haswell
NUMBA_CPU_FEATURES=$(emulated -c 'import llvmlite.binding as b; print(b.get_host_cpu_features().flatten())')
export NUMBA_CPU_FEATURES
echo "natively, for Haswell:" && "$python" tests/programs/golden.py
natively=$("$python" tests/programs/artifact.py)
echo "emulated:" && emulated tests/programs/golden.py
there=$(emulated tests/programs/artifact.py)
[ "$there" = "$natively" ] || { echo "the artifact gives $there, natively $natively" >&2; exit 1; }
echo "the artifact gives the same bits in both runtimes, here and there: $there"
emulated -m pytest -q -p no:cacheprovider tests/contracts/test_kernels.py
echo "$((SECONDS / 60)) minutes"
