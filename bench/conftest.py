"""Options of ``pytest bench``, and the measurements that its tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.harness import plan, problem
from bench.harness.awake import Awake
from bench.harness.rounds import Lineup, Measurement

#: The cases by the words that stand for them in parameters.
JOBS = pytest.StashKey[dict[str, plan.Job]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dynq bench")
    group.addoption("--bench-files", metavar="NAMES", help="shape files, separated by commas (default: all)")
    group.addoption("--bench-threads", metavar="COUNTS", help="thread counts, separated by commas (default: 1 and all)")
    group.addoption("--bench-rounds", type=int, default=15, help="rounds at most (default: %(default)s)")
    group.addoption("--bench-budget", type=float, default=2.0, help="seconds of rounds a group (default: %(default)s)")


def smoke(config: pytest.Config) -> bool:
    """Whether benchmarks are disabled: then all run once, on the smallest shapes."""
    return config.getoption("benchmark_disable") and not config.getoption("benchmark_enable")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each case and contestant, those of a case one after the other."""
    if not {"job", "name"} <= set(metafunc.fixturenames):
        return
    config = metafunc.config
    files = (config.getoption("--bench-files") or ("smoke" if smoke(config) else ",".join(plan.FILES))).split(",")
    if unknown := sorted(set(files) - set(problem.files())):
        raise pytest.UsageError(f"--bench-files: no {', '.join(unknown)}; there are: {', '.join(problem.files())}")
    given = config.getoption("--bench-threads")
    threads = [int(word) for word in given.split(",")] if given else plan.thread_counts()
    jobs = [job for count in threads for job in plan.jobs(files, count, plan.chosen())]
    parameters = [pytest.param(job.label, name, id=f"{job.label}-{name}") for job in jobs for name in job.names]
    metafunc.parametrize(("job", "name"), parameters)  # words, which pytest-benchmark writes into its JSON as they are
    config.stash[JOBS] = {job.label: job for job in jobs}


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    """How long the cases of `pytest bench --benchmark-enable` will take."""
    chosen = {item.callspec.params.get("job") for item in items if hasattr(item, "callspec")} - {None}
    if not chosen or smoke(config):
        return None
    minutes = len(chosen) * (config.getoption("--bench-budget") + plan.BUILD) / 60
    return f"dynq bench: {len(chosen)} cases of linear, about {max(1, round(minutes))} min"


class Bench:
    """Measures a case when its first test asks, among the contestants of all tests selected for it."""

    def __init__(self, session: pytest.Session):
        self.config = session.config
        self.lineup: Lineup | None = None
        self.last: tuple[plan.Job, Measurement] | None = None
        self.names: dict[plan.Job, list[str]] = {}
        for item in session.items:
            parameters = getattr(item, "callspec", None) and item.callspec.params
            if parameters and "job" in parameters:
                self.names.setdefault(self.job(parameters["job"]), []).append(parameters["name"])

    def job(self, label: str) -> plan.Job:
        return self.config.stash[JOBS][label]

    def measure(self, job: plan.Job) -> Measurement:
        if self.last is None or self.last[0] != job:
            threads = job.case.threads
            if self.lineup is None or self.lineup.threads != threads:
                self.close()
                chosen = {name for names in self.names.values() for name in names}
                self.lineup = Lineup([c for c in plan.chosen() if c.name in chosen], threads)
            most, budget = self.config.getoption("--bench-rounds"), self.config.getoption("--bench-budget")
            if smoke(self.config):
                most, budget = 1, 0.0
            names = self.names[job]
            self.last = job, self.lineup.measure(job.case, names, budget=budget, most=most, fewest=min(5, most))
        return self.last[1]

    def close(self) -> None:
        if self.lineup is not None:
            self.lineup.close()


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(request.session)
    with Awake():
        yield bench
    bench.close()
