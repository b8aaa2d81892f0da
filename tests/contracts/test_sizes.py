"""How long files are: a reader takes in a few hundred lines at once."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Lines of a file, and those that no reason allows.
LONG, TOO_LONG = 300, 500
#: Why a file is longer.
REASONS = {
    "bench/topics/models.py": "a topic is one file: its table of networks, what makes each, and who runs it",
    "dynq_numba/evaluate/search/searching.py": "one search, whose phases hand their findings to each other",
    "dynq_numba/gate/config.py": "one table of what gate.toml may say, and its reader",
    "dynq_numba/gate/metrics.py": "one table of metrics, with the formula of each",
    "dynq_numba/graph/quantizer.py": "one class: what becomes of a model's layers, in their order",
    "dynq_numba/operators/recurrent/api.py": "six public functions; most of it is what users read of them",
    "examples/fetch.py": "one script for people to copy; it imports nothing of the others",
    "examples/minilm.py": "one script for people to copy; it imports nothing of the others",
    "kernels/gemm/tile.py": "the inner loop of all products: one class, whose parts make sense only together",
    "kernels/region/reference.py": "one table of operators, with the formula of each",
    "kernels/rowwise/emit.py": "one emitter for each row-wise operation, on the same helpers",
    "kernels/threads/pool.py": "one protocol, which its drawing at the top explains",
}


def lengths() -> dict[str, int]:
    folders = ("bench", "dynq_numba", "examples", "kernels", "tests")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in found}


def test_there_is_something_to_count():
    assert len(lengths()) > 400


def test_files_are_short():
    """Those of tests may be longer: their functions stand one beside another, and know nothing of each other."""
    there = lengths()
    assert {file: lines for file, lines in there.items() if lines > TOO_LONG} == {}
    long = {file for file, lines in there.items() if lines > LONG and not file.startswith("tests/")}
    assert long - REASONS.keys() == set(), "split it, or give a reason here"


def test_reasons_are_of_long_files():
    there = lengths()
    assert [file for file in REASONS if there.get(file, 0) <= LONG] == []
