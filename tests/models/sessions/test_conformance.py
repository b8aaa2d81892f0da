"""onnx's own node tests come out as recorded, neither worse nor better; the record and its page are in order."""

from __future__ import annotations

import json

import conformance as program
import node_tests
import onnx
import pytest

RECORD = json.loads(program.RECORD.read_text())
FOUND: dict[str, list[str]] = RECORD["cases"]
#: One of so many cases is in the quick tier.
SOME, SHARDS = 40, 8


def check(names: list[str]) -> None:
    cases = node_tests.cases()
    found = program.run([name for name in names if name in cases])
    assert {name: how for name, (how, _) in found.items()} == {name: FOUND[name][0] for name in found}


def test_enough_cases_pass():
    count = program.figures(FOUND)
    assert 100 * count.passed >= program.LEAST * count.ours
    assert 100 * count.native >= program.LEAST_NATIVE * count.ours


def test_the_page_is_that_of_the_record():
    assert program.PAGE.read_text() == program.page(RECORD)


def test_every_case_is_in_the_record_and_some_come_out_so():
    """One test: it takes onnx 6 s to make its cases."""
    if onnx.__version__ == RECORD["onnx"]:
        assert set(node_tests.cases()) == set(FOUND)
    check(sorted(FOUND)[::SOME])


@pytest.mark.parametrize("shard", range(SHARDS))
def test_all_node_tests(shard):
    check(sorted(FOUND)[shard::SHARDS])
