"""Verdicts: from an interval and a limit, and from results to one for the build."""

import json
import math
from xml.dom import minidom

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynq_numba.gate import GateReport, Result, junit
from dynq_numba.gate.bootstrap import Interval
from dynq_numba.gate.verdicts import verdict_of

NUMBERS = st.floats(-1e6, 1e6)


def result(verdict="pass", critical=True, goal="g", where="", **more):
    given = {"low": 0.1, "high": 0.3, "reference": 0.9, "candidate": 0.7, "rows": 50} | more
    return Result(goal, where, "accuracy", None, "max-degradation", 0.2, False, 0.2, given["low"], given["high"],
                  given["reference"], given["candidate"], given["rows"], verdict, critical)  # fmt: skip


@pytest.mark.parametrize("low, high, limit, least, verdict", [
    (0.8, 0.9, 0.7, True, "pass"), (0.8, 0.9, 0.8, True, "pass"), (0.8, 0.9, 0.85, True, "inconclusive"),
    (0.8, 0.9, 0.9, True, "inconclusive"), (0.8, 0.9, 0.91, True, "fail"), (0.1, 0.2, 0.3, False, "pass"),
    (0.1, 0.2, 0.2, False, "pass"), (0.1, 0.2, 0.15, False, "inconclusive"), (0.1, 0.2, 0.1, False, "inconclusive"),
    (0.1, 0.2, 0.09, False, "fail"), (-math.inf, math.inf, 0, True, "inconclusive"),
])  # fmt: skip
def test_an_interval_that_spans_the_limit_is_inconclusive(low, high, limit, least, verdict):
    assert verdict_of((low + high) / 2, Interval(low, high), limit, least) == verdict


@pytest.mark.parametrize("value, limit, least, verdict", [
    (5.0, 5.0, True, "pass"), (5.0, 5.0, False, "pass"), (5.0, 5.1, True, "fail"), (5.0, 4.9, False, "fail"),
])  # fmt: skip
def test_what_is_counted_has_no_interval(value, limit, least, verdict):
    assert verdict_of(value, None, limit, least) == verdict


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans())
def test_a_stricter_limit_never_gives_a_better_verdict(a, b, limit, other, least):
    order = ["fail", "inconclusive", "pass"]
    strict, loose = sorted((limit, other), reverse=least)
    interval = Interval(min(a, b), max(a, b))
    strictly, loosely = (order.index(verdict_of(a, interval, each, least)) for each in (strict, loose))
    assert strictly <= loosely
    point = verdict_of(a, None, strict, least)
    assert verdict_of(a, interval, strict, least) in (point, "inconclusive")


@pytest.mark.parametrize("results, verdict, status", [
    ([], "pass", 0), ([("pass", True)], "pass", 0), ([("pass", True), ("fail", True)], "fail", 1),
    ([("fail", False), ("pass", True)], "pass", 0), ([("inconclusive", False)], "pass", 0),
    ([("inconclusive", True), ("pass", True)], "inconclusive", 4),
    ([("inconclusive", True), ("fail", True)], "fail", 1),
    ([("inconclusive", True), ("fail", False)], "inconclusive", 4),
])  # fmt: skip
def test_only_critical_goals_stop_a_build(results, verdict, status):
    report = GateReport([result(*each) for each in results])
    assert (report.verdict, report.status) == (verdict, status)
    assert report.summary().startswith(verdict.upper())


def test_a_goal_is_a_line_with_name_value_interval_bound_and_verdict():
    line = result("inconclusive", where="length = short").sentence()
    assert line == "g [length = short]: max-degradation 0.2 (0.1 to 0.3), wanted ≤ 0.2: inconclusive"
    assert result("fail", False).sentence().endswith(": fail (warning)")
    size = Result("size", "", None, None, "max-size", 3e7, False, 2.5e7, None, None, None, None, None, "pass", True)
    assert size.sentence() == "size: max-size 25.00 MB, wanted ≤ 30.00 MB: pass"


def test_the_summary_names_the_first_goal_that_stops_the_build():
    report = GateReport([result(), result("fail", goal="b"), result("fail", goal="c"), result("fail", False)])
    assert report.summary() == (
        "FAIL: 2 of 4 looks, 1 warning: b: max-degradation 0.2 (0.1 to 0.3), wanted ≤ 0.2: fail; and 1 more"
    )


def test_junit_is_read_by_another_parser():
    odd = result("fail", where='a = <b> & "c" \x00\u2028')
    report = GateReport([result(), odd, result("inconclusive"), result("inconclusive", False)], seconds=1.5)
    suite = minidom.parseString(junit(report)).getElementsByTagName("testsuite")[0]
    assert {key: suite.getAttribute(key) for key in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "4", "failures": "2", "errors": "0", "skipped": "1", "time": "1.500",
    }  # fmt: skip
    cases = suite.getElementsByTagName("testcase")
    kinds = [next(child.tagName for child in case.childNodes if child.nodeType == 1) for case in cases]
    assert kinds == ["system-out", "failure", "failure", "skipped"]
    failure = cases[1].getElementsByTagName("failure")[0]
    assert failure.getAttribute("type") == "fail" and failure.getAttribute("message").startswith('g [a = <b> & "c" ')
    assert cases[1].getAttribute("name") == 'g [a = <b> & "c" \u2028]'


def test_markdown_escapes_what_would_break_the_table():
    rows = GateReport([result(goal="a|b", where="<x>\n")]).to_markdown().splitlines()
    (line,) = [row for row in rows if "a\\|b" in row]
    assert line.replace("\\|", "").count("|") == rows[2].count("|") == 10 and "&lt;x>" in line


def test_json_has_no_numbers_that_json_has_not():
    report = GateReport([result(low=-math.inf, high=math.nan, candidate=np.nan)])
    whole = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert whole["results"][0]["low"] is None and whole["results"][0]["candidate"] is None
    assert whole["verdict"] == "pass" and whole["results"][0]["sentence"].startswith("g: ")
