"""The linear layer on pytest-benchmark: ours and the peers as adjacent rows, one group a case.

    pytest bench --benchmark-enable --bench-files tiny --benchmark-group-by=group -k "dynq or XNNPACK"
    pytest bench                       # runs each once on tiny shapes: what CI does

It says how long it will take before it begins.

Every contestant runs in a process of its own and is checked against float64; the rounds of a group are interleaved
(bench/harness/rounds.py), which pytest-benchmark cannot do by itself, so its timer replays what they gave. The table's
times are of calls from numpy array to numpy array; `extra_info` in its JSON has the framework's own run and the limits.
"""

from __future__ import annotations

import pytest

from bench.harness import results
from bench.harness.replay import Replay

REPLAY = Replay()


@pytest.mark.benchmark(timer=REPLAY.now)
def test_linear(benchmark, bench, job, name):
    job = bench.job(job)
    measured = bench.measure(job)
    if name in measured.missing:
        if results.BY_NAME[name].family == "dynq":
            pytest.fail(measured.missing[name])
        benchmark.skipped = True
        pytest.skip(measured.missing[name])
    durations = list(measured.called[name].values())
    benchmark.group = f"{job.file}: {job.case}"
    benchmark.extra_info.update(results.row(name, measured))
    benchmark.pedantic(REPLAY.of(durations), rounds=len(durations))
