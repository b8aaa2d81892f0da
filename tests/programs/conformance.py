"""onnx's node tests on InferenceSession, one by one: how each comes out, and the page that says so.

python tests/programs/conformance.py [WORD]    run them, or those with this word in their name; compare
python tests/programs/conformance.py --write   write conformance.json and docs/reference/conformance.md anew
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import onnx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import node_tests  # noqa: E402
from node_tests import FAILS, KERNELS, OUTSIDE, PASSES, PYTHON, READS  # noqa: E402

RECORD, PAGE = Path(__file__).with_suffix(".json"), ROOT / "docs" / "reference" / "conformance.md"

#: Percent of the cases of ours that must pass, and without any step in Python.
LEAST, LEAST_NATIVE = 97, 60


def run(names: list[str]) -> dict[str, list[str]]:
    """How cases come out, and what is to be said of each."""
    cases, tests = node_tests.cases(), node_tests.runner()
    found = {}
    for name in names:
        why = node_tests.outside(cases[name])
        how, said = (FAILS, "") if why == node_tests.RANDOM else node_tests.outcome(tests, name)
        if why is not None:
            how, said = OUTSIDE if how == FAILS else PASSES, why
        found[name] = [how, said]
    return found


class Figures(NamedTuple):
    """Numbers of cases."""

    ours: int
    passed: int
    #: With every operator by kernels; and of these without any step in Python.
    by_kernels: int
    native: int


def figures(found: dict[str, list[str]]) -> Figures:
    count = Counter(how for how, _ in found.values())
    native = count[KERNELS]
    by_kernels = native + count[READS]
    ours = sum(count.values()) - count[OUTSIDE] - count[PASSES]
    return Figures(ours, by_kernels + count[PYTHON], by_kernels, native)


def page(record: dict) -> str:
    """The page of the documentation."""
    found = record["cases"]
    count = figures(found)
    lines = [
        "# Conformance", "",
        "onnx brings tests of its operators: small models with inputs and results. `InferenceSession` runs them",
        f"through onnx's own runner (onnx {record['onnx']}). `python tests/programs/conformance.py --write` writes",
        "this page. A test fails where a case comes out otherwise than here, and also where it comes out better.", "",
        "| | cases | |", "|---|---|---|",
        f"| all | {len(found)} | |",
        f"| of ours | {count.ours} | |",
        f"| pass | {count.passed} | {_percent(count.passed, count)} |",
        f"| pass, every operator by kernels | {count.by_kernels} | {_percent(count.by_kernels, count)} |",
        f"| pass, no step of any kind in Python | {count.native} | {_percent(count.native, count)} |", "",
        "Where shapes are made of numbers that kernels computed, Python looks at them between two segments. That is a",
        "step in Python, too, though it computes no operator. Compiled code reads the numbers of inputs.", "",
        "## Not of ours", "", "What a case is about that nothing is promised of.", "",
        *_table("about", found, OUTSIDE), "", "They pass all the same:", "", *_table("about", found, PASSES), "",
        "## Do not pass", "",
        "Where it says other values, they are of float16: ours are computed in float32 and rounded. Those that are",
        "wanted were rounded on the way, and differ by more from the exact ones.", "",
        *_table("because", found, FAILS), "",
        "## Python looks at numbers", "", "They pass, with every operator by kernels.", "",
        *_table("why", found, READS), "",
        "## An operator in Python", "", "They pass; onnx.reference computes a node.", "",
        *_table("operator: why", found, PYTHON), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _percent(cases: int, count: Figures) -> str:
    return f"{100 * cases / count.ours:.1f} %"


def _table(head: str, found: dict[str, list[str]], how: str) -> list[str]:
    """Reasons of cases that come out so, the most frequent first."""
    reasons = {name: why for name, (each, why) in found.items() if each == how}
    if not reasons:
        return ["None."]
    by_reason: dict[str, list[str]] = {}
    for name, why in sorted(reasons.items()):
        by_reason.setdefault(why, []).append(name.removeprefix("test_"))
    lines = [f"| {head} | cases | |", "|---|---|---|"]
    for why, names in sorted(by_reason.items(), key=lambda each: (-len(each[1]), each[0])):
        shown = why.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
        lines.append(f"| {shown} | {len(names)} | {', '.join(f'`{name}`' for name in names)} |")
    return lines


def main() -> int:
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    found = run([name for name in node_tests.cases() if all(word in name for word in words)])
    count = figures(found)
    print(
        f"{len(found)} cases, {count.ours} of ours: {count.passed} pass, {count.by_kernels} with every operator by "
        f"kernels, {count.native} without any step in Python"
    )
    if "--write" in sys.argv[1:] and not words:
        record = {"onnx": onnx.__version__, "cases": dict(sorted(found.items()))}
        RECORD.write_text(json.dumps(record, indent=0) + "\n")
        PAGE.write_text(page(record))
        return 0
    kept = json.loads(RECORD.read_text())["cases"] if RECORD.exists() else {}
    wrong = [name for name, said in found.items() if kept.get(name, [None])[0] != said[0]]
    for name in wrong if not words else found:
        print(f"  {name}: {found[name]}, recorded {kept.get(name)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
