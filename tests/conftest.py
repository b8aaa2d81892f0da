"""Fixtures and hypothesis profiles that every test file shares."""

import gc
import os
import subprocess

import numpy as np
import pytest
import tiers
from hypothesis import HealthCheck, settings

from dynq_numba.runtime.isa import INSTRUCTION_SETS

ISAS = tuple(isa.name for isa in INSTRUCTION_SETS)
# Files of other packages: see process/test_new_set.py and test_new_operator.py.
# What exported the files of models needs PyTorch.
collect_ignore = ["support/dummy_set.py", "support/dummy_operator", "programs/export_spellings.py",
                  "programs/export_networks.py", "programs/export_others.py"]
# Children of tests whose standard error is looked at.
os.environ.setdefault("DYNQ_QUIET", "1")
# pytest-xdist tells its workers how wide the terminal is; tests of what goes to a terminal say so themselves.
os.environ.pop("COLUMNS", None)

# The generated inputs of "ci" are the same in every run; HYPOTHESIS_PROFILE=thorough searches further.
settings.register_profile(
    "ci",
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=2000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


TIERS = pytest.StashKey[tuple[list, list]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark the quick tier, and what runs alone; what takes longest comes first, so that no worker ends long after."""
    import dynq_numba

    chosen = tiers.quick(items, dynq_numba.available_isas())
    config.stash[TIERS] = list(items), chosen
    for item in chosen:
        item.add_marker("quick")
    for item in items:
        if tiers.alone(item):
            item.add_marker("alone")
    items.sort(key=lambda item: not tiers.slow(item))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    tiers.need_extras(item)


def pytest_collection_finish():
    """What was imported and collected stays: no collection of garbage looks through it any more."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=ISAS)
def isa(request):
    """Run the test once on every instruction set of this machine; the others are skipped with the reason."""
    import dynq_numba

    available = dynq_numba.available_isas()
    if request.param not in available:
        pytest.skip(f"{request.param} is not among what this machine can run: {', '.join(available)}")
    with dynq_numba.force_isa(request.param):
        yield request.param


@pytest.fixture(params=["ends", "between"])
def sets(request):
    """Instruction sets of this machine: the best one and `portable`, which are quick; those between."""
    import dynq_numba

    available = dynq_numba.available_isas()
    ends = available[:1] + available[1:][-1:]
    return ends if request.param == "ends" else tuple(name for name in available if name not in ends)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a file system here: {getattr(error, 'stderr', None) or error}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def rng():
    """A generator that starts the same way in every test."""
    return np.random.default_rng(2024)
