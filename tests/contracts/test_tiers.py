"""The quick tier is a part of all tests, and meets every operator and promise (tests/support/tiers.py)."""

from collections import defaultdict
from pathlib import Path

import pytest
import tiers
from conftest import ISAS, TIERS

import dynq_numba as dq

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def collected(request):
    """All tests, and the quick ones."""
    config = request.config
    if {(ROOT / path).resolve() for path in config.args} != {ROOT / path for path in config.getini("testpaths")}:
        pytest.skip("only some tests were collected")
    return request.config.stash[TIERS]


def by_function(items):
    found = defaultdict(list)
    for item in items:
        found[tiers.function_of(item)].append(item)
    return found


def values(items):
    """What every parameter but the instruction set takes on this machine, as far as the quick tier must have it."""
    here = [item for item in items if tiers.set_of(item) in (None, *dq.available_isas())]
    return {each for item in here for each in tiers.choices(item) if each[0] != "isa" and tiers.wanted(each)}


def test_quick_is_a_part_of_all(collected):
    everything, quick = collected
    assert set(quick) < set(everything) and len(quick) == len(set(quick))
    assert all(item.get_closest_marker("quick") for item in quick)
    assert not any(item.get_closest_marker("quick") for item in set(everything) - set(quick))


def test_every_function_is_quick_with_every_name_that_its_parameters_take(collected):
    everything, quick = (by_function(items) for items in collected)
    for function, items in everything.items():
        if tiers.slow(items[0]) or tiers.extras(items[0]):
            assert function not in quick
        else:
            assert quick[function] and values(quick[function]) == values(items), function


def test_golden_digests_and_documentation_are_quick_as_a_whole(collected):
    everything, quick = collected
    missing, ends = set(everything) - set(quick), {dq.available_isas()[0], dq.available_isas()[-1]}
    assert not any(tiers.function_of(item)[1] in tiers.WHOLE and tiers.set_of(item) in ends for item in missing)
    assert {item.originalname for item in quick if isinstance(item, pytest.Function)} >= tiers.WHOLE
    assert all(isinstance(item, pytest.Function) or tiers.extras(item) for item in missing)
    assert {ROOT / "README.md", ROOT / "docs" / "tutorial.md"} < {item.path for item in quick}


def test_both_ends_of_the_instruction_sets_are_quick(collected):
    named = {item.callspec.params.get("isa") for item in collected[1] if hasattr(item, "callspec")}
    assert {dq.available_isas()[0], dq.available_isas()[-1]} <= named <= {None, *ISAS}


def test_sets_that_a_test_runs_on_are_named_as_such(collected):
    """A parameter of another name would make those between quick: each name that it takes occurs there."""
    cases = [item for item in collected[0] if hasattr(item, "callspec")]
    named = {(name, tiers.function_of(item)) for item in cases for name, value in item.callspec.params.items()
             if isinstance(value, str) and value in ISAS}  # fmt: skip
    assert named and {name for name, _ in named} == {"isa"}, named


def test_what_is_named_is_there(collected):
    functions = {name for item in collected[0] for name in (item.path.stem, tiers.function_of(item)[1])}
    assert functions >= tiers.SLOW | tiers.ALONE | tiers.WHOLE


@pytest.mark.parametrize("setting, outcome", [("", "skipped"), ("required", "failed")])
def test_what_needs_an_absent_extra_is_skipped_or_fails(request, monkeypatch, setting, outcome):
    monkeypatch.setenv("DYNQ_TEST_EXTRAS", setting)
    monkeypatch.setattr(tiers, "extras", lambda item: ("gate",))
    monkeypatch.setattr(tiers, "missing", lambda extra: ("fairlearn",))
    error = {"skipped": pytest.skip.Exception, "failed": pytest.fail.Exception}[outcome]
    with pytest.raises(error, match="'gate' is not installed whole: fairlearn"):
        tiers.need_extras(request.node)


def test_an_extra_that_names_others_is_as_whole_as_they_are(monkeypatch):
    monkeypatch.setattr(tiers, "_absent", {"fairlearn", "pyarrow"}.__contains__)
    tiers.missing.cache_clear()
    assert tiers.missing("gate") == ("fairlearn", "pyarrow") and tiers.missing("test") == ()
    tiers.missing.cache_clear()
