"""onnx's node tests on InferenceSession, one by one: how each comes out, and the page that says so.

    python tests/programs/conformance.py [WORD]    run them, or those with this word in their name; compare
    python tests/programs/conformance.py --write   write conformance.json and docs/reference/conformance.md anew
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import onnx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import node_tests  # noqa: E402

RECORD, PAGE = Path(__file__).with_suffix(".json"), ROOT / "docs" / "reference" / "conformance.md"

#: Percent of the cases of ours that must pass, and with every operator by kernels.
LEAST, LEAST_KERNELS = 97, 60


def run(names: list[str]) -> dict[str, list[str]]:
    """How cases come out, and what is to be said of each."""
    cases, tests = node_tests.cases(), node_tests.runner()
    found = {}
    for name in names:
        why = node_tests.outside(cases[name])
        found[name] = [node_tests.OUTSIDE, why] if why else list(node_tests.outcome(tests, name))
    return found


def figures(found: dict[str, list[str]]) -> tuple[int, int, int]:
    """Cases of ours; those that pass; those that pass with every operator by kernels."""
    count = Counter(how for how, _ in found.values())
    ours = sum(count.values()) - count[node_tests.OUTSIDE]
    return ours, count[node_tests.KERNELS] + count[node_tests.PYTHON], count[node_tests.KERNELS]


def page(record: dict) -> str:
    """The page of the documentation."""
    found = record["cases"]
    ours, passed, native = figures(found)
    lines = [
        "# Conformance", "",
        "onnx brings tests of its operators: small models with inputs and results. `InferenceSession` runs them",
        f"through onnx's own runner (onnx {record['onnx']}). `python tests/programs/conformance.py --write` writes",
        "this page. A test fails where a case comes out otherwise than here, and also where it comes out better.", "",
        "| | cases | |", "|---|---|---|",
        f"| all | {len(found)} | |",
        f"| of ours | {ours} | |",
        f"| pass | {passed} | {100 * passed / ours:.1f} % |",
        f"| pass, with every operator computed by kernels | {native} | {100 * native / ours:.1f} % |", "",
        "Between two segments of kernels Python may look at numbers that shapes are made of, where a case has them as",
        "inputs: that computes no operator.", "",
        "## Not of ours", "", "What a case is about that sessions do not have.", "",
        *_table("about", {name: why for name, (how, why) in found.items() if how == node_tests.OUTSIDE}), "",
        "## Do not pass", "",
        *_table("because", {name: why for name, (how, why) in found.items() if how == node_tests.FAILS}), "",
        "## An operator in Python", "", "They pass; onnx.reference computes a node.", "",
        *_table("operator: why", {name: why for name, (how, why) in found.items() if how == node_tests.PYTHON}), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _table(head: str, reasons: dict[str, str]) -> list[str]:
    """Reasons, the most frequent first, with their cases."""
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
    ours, passed, native = figures(found)
    print(f"{len(found)} cases, {ours} of ours: {passed} pass, {native} with every operator by kernels")
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
