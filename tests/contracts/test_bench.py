"""The bench's own arithmetic: shapes, checks, rounds, ratios, tables. Nothing here is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench import __main__ as command
from bench.harness import awake, disturbance, machine, plan, problem, results, timing
from bench.harness.problem import Case, Problem, Shape
from bench.harness.remote import LIVES, Failed, Remote
from bench.harness.replay import Replay
from bench.harness.rounds import LIMITS, Measurement
from bench.peers import CONTESTANTS
from bench.publish import charts, formats, models, pages, readme, summary, tables, whisper
from bench.tools import mixed
from bench.topics import conversion, embedding, linear, operators
from bench.topics.base import Topic, Way

PEER = next(c.name for c in CONTESTANTS if c.family == "xnnpack" and c.weights == "int8")
NARROW = next(c.name for c in CONTESTANTS if c.family == "xnnpack" and c.weights == "int4")
OURS = results.OURS["int8"]


@pytest.mark.parametrize("name", problem.files())
def test_shape_files(name):
    shapes = problem.read_shapes(name)
    assert shapes and len(set(shapes)) == len(shapes)
    assert all(min(shape) >= 1 for shape in shapes)


def test_the_files_are_what_they_say():
    assert all(max(s.k, s.n) <= 128 for s in problem.read_shapes("tiny"))
    recommendation = problem.read_shapes("recommendation")
    assert all(64 <= s.m <= 4096 and 64 <= min(s.k, s.n) and max(s.k, s.n) <= 1024 for s in recommendation)
    assert all(s.m % 2 and s.k % 2 and s.n % 2 for s in problem.read_shapes("remainders"))
    assert set(plan.FILES) | {"smoke"} == set(problem.files())


def test_a_problem_knows_its_result(tmp_path):
    problem.make(Shape(5, 96, 40), tmp_path)
    given = Problem.load(tmp_path)
    exact = given.x @ given.weight.T + given.bias
    assert given.error(exact) < 1e-5
    assert 0.05 < given.error(exact * np.float32(1.1)) < 0.2
    assert given.error(exact[:, 1:]) == given.error(exact.astype(np.float64)) == float("inf")
    exact[0, 0] = np.nan
    assert given.error(exact) == float("inf")


def test_a_problem_is_seeded_and_checked_in_part_where_it_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(problem, "CHECKED", 100)
    problem.make(Shape(3, 64, 50), tmp_path)
    first, weight = np.array(Problem.load(tmp_path).x), np.array(Problem.load(tmp_path).weight)
    problem.make(Shape(7, 64, 50), tmp_path)  # the same weight
    assert np.array_equal(Problem.load(tmp_path).weight, weight)
    problem.make(Shape(3, 32, 50), tmp_path)  # another one
    assert Problem.load(tmp_path).weight.shape == (50, 32)
    problem.make(Shape(3, 64, 50), tmp_path)
    again = Problem.load(tmp_path)
    assert np.array_equal(again.x, first) and np.array_equal(again.weight, weight)
    assert again.exact.shape == (3, 8) == (3, len(set(again.columns)))


def test_a_burst_counts_calls():
    calls = []
    assert timing.burst(lambda: calls.append(None), warm=0) > 0
    assert len(calls) > 10


def measurement() -> Measurement:
    """Three rounds, the second on a machine at half speed."""
    case = Case(Shape(100, 100, 100), 2)
    m = Measurement(case, quiet=[True, True, False], error={OURS: 0.01, PEER: 0.011, NARROW: 0.08})
    m.peak, m.bandwidth = {0: 1e12, 1: 0.5e12, 2: 1e12}, {0: 1e11, 1: 0.5e11, 2: 1e11}
    m.called = {OURS: {0: 4e-6, 1: 8e-6, 2: 4e-6}, PEER: {0: 6e-6, 1: 12e-6, 2: 6e-6}, NARROW: {0: 1e-6}}
    m.bare = {PEER: {0: 5e-6, 1: 10e-6, 2: 5e-6}}
    return m


def test_a_row():
    row = results.row(OURS, measurement())
    assert row["called_us"] == row["bare_us"] == 4 and row["rounds"] == 3
    assert row["of_limit"] == 0.5  # 2e6 operations in 4 µs, of 1 TOP/s; likewise in the slow round
    assert (row["ratio_called"], row["ratio_bare"]) == (1.5, 1.25)
    assert row["best_called"] == row["best_bare"] == PEER  # not the faster one with 4-bit weights
    assert "ratio_called" not in results.row(PEER, measurement())


def test_few_rows_are_compared_with_the_read_bandwidth():
    m = measurement()
    m.case = Case(Shape(1, 100, 100), 2)
    assert results.row(OURS, m)["of_limit"] == 0.025  # 10 kB in 4 µs, of 100 GB/s


def test_without_limits_there_is_no_percentage():
    m = measurement()
    m.peak, m.bandwidth = {}, {}
    group = results.group(m, "tiny")
    assert group["peak_gops"] is None and group["rows"][0]["of_limit"] is None
    assert tables.text(group)


def test_disturbed_turns():
    m = measurement()
    assert [m.disturbed(PEER, number) for number in range(3)] == [False, True, False]
    assert m.disturbed(LIMITS, 1) and not m.disturbed(LIMITS, 2)
    m.missing[PEER] = "died"
    assert not m.disturbed(PEER, 1)


def test_means_and_tables():
    groups = [results.group(measurement(), "transformer")]
    m = summary.means(groups)
    assert (m["cases"], m["wins"], m["losses"], m["worst"]) == (1, 1, 0, 1.25)
    assert m["bare"] == pytest.approx(1.25) and m["called"] == pytest.approx(1.5)
    assert "100,100,100" in readme.geometric(groups) and "1.25" in readme.geometric(groups)
    assert "| **4** |" in readme.headlines(groups, "int8", None)
    assert readme.headlines(groups, "int8", ((1, 2, 3),)) == ""
    assert OURS in tables.text(groups[0]) and "something else was running at 33%" in tables.text(groups[0])


@pytest.mark.parametrize("what", ["beyond the limit", "ours spreads", "the peer spreads", "busy"])
def test_a_disturbed_case_is_measured_again_then_marked_and_kept_out(what):
    steady, disturbed = measurement(), measurement()
    if what == "beyond the limit":
        disturbed.peak = {r: rate / 4 for r, rate in disturbed.peak.items()}
    elif what == "busy":
        disturbed.quiet = [True, False, False]
    else:
        disturbed.called[OURS if what == "ours spreads" else PEER] = {0: 6e-6, 1: 9e-4, 2: 6e-6}
    for outcomes, marked in (([disturbed, steady], False), ([disturbed, disturbed], True), ([steady], False)):
        left = list(outcomes)
        lineup = SimpleNamespace(measure=lambda case, names, left=left: left.pop(0))
        group = linear.measured(lineup, plan.Job("transformer", steady.case, (OURS, PEER)), {})
        assert not left and group["disturbed"] is marked
        assert (summary.means([group]) is None) is marked
        assert bool(summary.select([group], lambda g: True)) is not marked
        assert ("disturbed" in tables.text(group)) is marked
        assert ("100,100,100 disturbed" in readme.headlines([group], "int8", ((100, 100, 100),))) is marked
        assert bool(charts.most_threads({"groups": [group, group]})) is not marked


class Scripted:
    """A process whose bursts last what was written down for it."""

    def __init__(self, seconds):
        self.seconds = iter(seconds)

    def ask(self, do, **request):
        return {"called": next(self.seconds)} if do == "burst" else {"error": 0.0}


@pytest.mark.parametrize("what", ["ours spreads", "the peer spreads", "busy"])
def test_a_disturbed_operator_is_measured_again_then_marked_and_kept_out(monkeypatch, what):
    calm, wide = [1e-5] * 4, [1e-5, 1e-5, 9e-5, 1e-5]
    ways = [Way(name, (), None, 0.0) for name in ("dynq", "peer")]
    topic = Topic("a topic", {"a case": {}}, None, None, tuple(ways))
    for outcomes in ((True, False), (True, True), (False,)):
        quiet = iter([not (bad and what == "busy") for bad in outcomes for _ in range(8)])
        monkeypatch.setattr(operators, "rest", lambda quiet=quiet: next(quiet))
        series = {name: [t for bad in outcomes for t in (wide if bad and what.startswith(word) else calm)]
                  for name, word in (("dynq", "ours"), ("peer", "the peer"))}  # fmt: skip
        remotes = {f"t:{name}": Scripted(seconds) for name, seconds in series.items()}
        group = disturbance.steady(lambda remotes=remotes: operators.measure("t", topic, "a case", 2, 3, remotes))
        assert next(quiet, None) is None, "measured as often as it must be"
        assert group["disturbed"] is outcomes[-1]
        assert ("a case disturbed" in operators.table([group])) is outcomes[-1]
        assert bool(charts.most_threads({"groups": [group]})) is not outcomes[-1]


def test_a_disturbed_conversion_is_measured_again_then_marked(monkeypatch):
    turns = []
    monkeypatch.setattr(conversion, "SHAPES", {"tiny": (4, 64)})
    monkeypatch.setattr(conversion, "limits", lambda values, threads: dict.fromkeys(
        ("read", *(f"{operation} {stream}" for operation in conversion.PROPORTIONS for stream in (False, True))),
        lambda: 1e12))  # fmt: skip
    monkeypatch.setattr(conversion.timing, "burst", lambda call: 1e-6)
    for calm in (True, False):
        turns.clear()
        monkeypatch.setattr(conversion, "rest", lambda calm=calm: turns.append(0) or calm)
        records = conversion.measure(1)
        assert len(records) == 4 and all(record["disturbed"] is not calm for record in records)
        assert len(turns) == conversion.ROUNDS * 6 * (1 if calm else 2)
        assert ("tiny disturbed" in readme.conversions({"conversions": records})) is not calm


def test_a_disturbed_embedding_says_so(monkeypatch):
    for calm in (True, False):
        monkeypatch.setattr(embedding, "rest", lambda calm=calm: calm)
        found = embedding.timed([lambda: None, lambda: None], [[()]])
        assert len(found["us"]) == 2 and (calm or found["disturbed"])


def test_every_benchmark_has_a_name_and_a_line(capsys):
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == len(command.commands()) >= 18 and all(len(line.split()) > 3 for line in lines)
    assert {"linear", "operators", "roofline", "calls", "matrix"} <= {line.split()[0] for line in lines}
    for name, (module, _) in command.commands().items():
        assert module.split(".")[-1] == name and Path(machine.ROOT, *module.split(".")).with_suffix(".py").is_file()
    assert command.main(["nothing"]) == 2 and "there are: accuracy" in capsys.readouterr().err
    assert command.main(["matrix"]) == 0 and "| operation |" in capsys.readouterr().out


def test_numbers():
    assert [tables.number(v) for v in (None, 0.012345, 1.5, 123456.0)] == ["", "0.0123", "1.5", "123456"]


def test_jobs():
    jobs = plan.jobs(["transformer", "int4"], 2, plan.chosen(["dynq", "xnnpack"]))
    assert len({job.label for job in jobs}) == len(jobs)
    wide = next(job for job in jobs if job.file == "transformer")
    assert set(wide.names) == {OURS, PEER}
    assert all(NARROW in job.names and PEER not in job.names for job in jobs if job.file == "int4")
    assert all(job.case.shape.m <= plan.COLD[job.file] for job in jobs if job.case.cold)
    with pytest.raises(ValueError, match="nobody"):
        plan.chosen(["nobody"])


def test_a_worker_that_dies_is_told_and_given_up():
    remote = Remote("nobody", 1, {})
    for _ in range(LIVES):
        with pytest.raises(Failed, match="ended with status 1: KeyError: 'nobody'"):
            remote.ask("burst")
    with pytest.raises(Failed, match="given up"):
        remote.ask("burst")


def test_a_worker_answers(tmp_path):
    problem.make(Shape(4, 32, 8), tmp_path)
    remote = Remote("numpy float32", 1, {})
    try:
        assert remote.ask("prepare", folder=str(tmp_path), copies=2)["error"] < 1e-5
        assert remote.ask("burst")["called"] > 0
        with pytest.raises(Failed, match="FileNotFoundError"):
            remote.ask("prepare", folder=str(tmp_path / "nowhere"), copies=1)
        assert remote.ask("release") == {}
    finally:
        remote.stop()


def test_replay():
    replay = Replay()
    step = replay.of([0.5, 0.25])
    before = replay.now()
    step()
    assert replay.now() - before == 0.5
    step()
    assert replay.now() - before == 0.75


def test_stamp():
    stamp = machine.stamp(["numpy", "no-such-distribution"])
    assert stamp["versions"]["numpy"] == np.__version__ and stamp["versions"]["no-such-distribution"] is None
    assert stamp["caches"].get("L1", 1) > 0 and machine.last_level_cache() > 0
    assert isinstance(awake.rest(0), bool)
    json.dumps(stamp)


def test_a_block_of_a_page():
    page = "a\n<!-- begin x: do it -->\nold\n<!-- end x -->\nb <!-- begin y: do -->\n<!-- end y -->\n"
    filled = pages.filled(page, "x", "new | \\1")
    assert filled == page.replace("old\n", "\nnew | \\1\n\n") == pages.filled(filled, "x", "new | \\1")
    for text in ("", page + page):
        with pytest.raises(ValueError, match="one block x"):
            pages.filled(text, "x", "new")


def test_tables_are_those_of_the_results():
    for (page, block), new in readme.content().items():
        assert pages.filled(page.read_text(), block, new) == page.read_text(), "run: python -m bench readme"


def test_tables_of_operators_are_those_of_their_record():
    text, new = pages.RESULTS.read_text(), operators.content(readme.load("operators"))
    assert pages.filled(text, "operators", new) == text, "run: python -m bench operators --write"


def test_table_of_models_is_that_of_their_record():
    text, record = pages.RESULTS.read_text(), readme.load(models.NAME)
    new = models.block(record) if record else "Not measured yet."
    assert pages.filled(text, models.NAME, new) == text, "run: python -m bench models --write"


def test_table_of_speech_is_that_of_its_record():
    text, record = pages.RESULTS.read_text(), readme.load(whisper.NAME)
    new = whisper.block(record) if record else "Not measured yet."
    assert pages.filled(text, whisper.NAME, new) == text, "run: python -m bench whisper --write"


def test_table_of_formats_is_that_of_their_record():
    text, new = pages.FORMATS.read_text(), formats.content(readme.load(formats.NAME))
    assert pages.filled(text, formats.NAME, new) == text, "run: python -m bench formats --write"


def test_pytest_bench_says_how_long_it_takes_and_its_parameters_are_words():
    options = ["--benchmark-enable", "--bench-files", "tiny", "--bench-threads", "2", "-k", "dynq or XNNPACK"]
    command = [sys.executable, "-m", "pytest", "bench/test_linear.py", *options, "--collect-only", "-s", "-p", "words"]
    plugin = "def pytest_itemcollected(item):\n    print('words', sorted(item.callspec.params.values()))\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "words.py").write_text(plugin)
        environment = os.environ | {"PYTHONPATH": folder}
        done = subprocess.run(
            command, cwd=machine.ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = len(problem.read_shapes("tiny"))
    minutes = max(1, round(cases * (2.0 + plan.BUILD) / 60))
    assert f"dynq bench: {cases} cases of linear, about {minutes} min" in done.stdout
    assert f"words [{OURS!r}, 'tiny-16x128x128-2t']" in done.stdout


def test_a_mixed_row_is_put_beside_its_peer_and_what_was_stolen():
    rows = {
        "default": mixed.Row([2e-4] * 99 + [6e-4], [1e-4], taken=0.5, foreign=0.0),
        mixed.XNNPACK: mixed.Row([1e-4] * 100, [1e-4], taken=0.5, foreign=0.2),
    }
    alone = {name: mixed.Row([1e-4] * 100, [], 0.0, 0.0) for name in rows}
    ours, peer = mixed.lines(mixed.Neighbourhood("a busy process", busy=(100,)), rows, alone)
    assert ours == ["linear: a busy process", "default", "204", "200", "600", "2.04",
                    f"{2.04 * (1 - 0.5 / mixed.CORES):.2f}", "6.0", "1.00", ""]  # fmt: skip
    assert peer[1] == mixed.XNNPACK and peer[5] == "1.00" and peer[-1] == "disturbed"
    assert all(len(line) == len(mixed.HEADING) for line in (ours, peer))
    burst = mixed.lines(mixed.Neighbourhood("bursts", mixed.PYTORCH, burst=0.02), {"default": rows["default"]}, {})
    assert burst[0][5:9] == ["", "", "", ""], "no peer, nothing that explains, nobody alone"
