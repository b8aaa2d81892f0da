"""What every operator gives on a fixed grid, as sha256: the same on any machine, instruction set, and version of numba.

    python tests/programs/golden.py            compare with golden.json on every set of this machine, or those named
    python tests/programs/golden.py --add      write the digests of cases that are new
    python tests/programs/golden.py --write    write golden.json anew (when the numerics are meant to change: say why)

What is computed stands in cases/, from inputs that are the same everywhere.
A NaN is made the canonical one before it is hashed: its payload is the processor's choice.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import cases
import numpy as np

import dynq_numba as dq

FILE = Path(__file__).parent / "golden.json"
CASES = {name: case for row in cases.ROWS.values() for name, case in row.golden.items()}


def digest(name: str) -> str:
    """The sha256 of a case's arrays: dtypes, shapes and bytes."""
    sha = hashlib.sha256()
    for array in CASES[name]():
        if array.dtype == np.float32:
            array = np.where(np.isnan(array), np.float32(np.nan), array)
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
        sha.update(f"{array.dtype.name} {array.shape}".encode() + little.tobytes())
    return sha.hexdigest()


def main() -> int:
    if "--write" in sys.argv[1:]:
        FILE.write_text(json.dumps({name: digest(name) for name in CASES}, indent=1) + "\n")
    kept, wrong = json.loads(FILE.read_text()), 0
    if "--add" in sys.argv[1:]:
        kept |= {name: digest(name) for name in CASES if name not in kept}
        FILE.write_text(json.dumps(kept, indent=1) + "\n")
        return 0
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")]
    for isa in chosen or dq.available_isas():
        with dq.force_isa(isa):
            differ = [name for name in CASES if digest(name) != kept.get(name)]
        wrong += len(differ)
        told = f"{isa}: {len(CASES) - len(differ)} of {len(CASES)} cases as in {FILE.name}"
        print(told, *differ, sep="\n  ", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
