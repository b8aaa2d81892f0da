"""Which tests `make test` runs: the quick tier.

It has every page and docstring, every golden digest, and of every other test function so many cases that each name that
its parameters take occurs (each-choice coverage): every operator, argument, scheme and form meets every promise. Of
numbers and shapes it takes FEW, of the instruction sets the two ends: the best one of this machine, and `portable`.
Those between would have to be compiled first. Left to `make test-all` are they, the combinations, and what is SLOW.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

#: Test files and functions that compile on an empty cache or for many types, fetch or build wheels, take memory away.
SLOW = frozenset({
    "test_caches", "test_environment", "test_float_scales", "test_import", "test_interrupts", "test_memory",
    "test_new_operator", "test_new_set", "test_packaging", "test_real_models", "test_real_sessions", "test_sources",
    "test_warmup",
    "test_assumed_targets_never_abort_and_give_the_same_bits", "test_speech_is_understood",
    "test_a_cache_that_several_processes_filled_confuses_no_kernels",
    "test_2000_mutated_files_give_a_result_or_a_clear_error", "test_nodes_of_onnx", "test_all_node_tests",
    "test_a_session_with_a_cache_that_is_read_only", "test_every_type_in_compiled_code",
    "test_other_targets_give_the_same_bits",
    "test_variants_compiled_by_separate_processes_stay_apart",
    "test_compiling_that_takes_long_is_told", "test_info_is_one_screen_and_tells_whether_kernels_are_compiled",
})  # fmt: skip
#: Files of tests/process that run one after another, behind the others: what they see depends on who else is busy.
ALONE = frozenset({"test_cores", "test_helper_lifetimes", "test_interrupts", "test_threads"})
#: Test functions of which all cases are quick, on the two ends of the instruction sets.
WHOLE = frozenset({"test_results_are_those_of_the_golden_file"})
#: Of each parameter so many values that are no names.
FEW = 3


def function_of(item: pytest.Item) -> tuple[str, str]:
    return str(item.path), getattr(item, "originalname", None) or item.name


def slow(item: pytest.Item) -> bool:
    return not SLOW.isdisjoint({item.path.stem, function_of(item)[1]})


def alone(item: pytest.Item) -> bool:
    return item.path.parent.name == "process" and item.path.stem in ALONE


def choices(item: pytest.Item) -> frozenset[tuple[str, Any]]:
    """What a case's parameters are: names (texts), or which of the values."""
    if not hasattr(item, "callspec"):
        return frozenset()
    indices = item.callspec.indices
    return frozenset((name, v if isinstance(v, str) else indices[name]) for name, v in item.callspec.params.items())


def wanted(choice: tuple[str, Any]) -> bool:
    """Whether the quick tier must have it."""
    return isinstance(choice[1], str) or choice[1] < FEW


def set_of(item: pytest.Item) -> str | None:
    """The instruction set that a case runs on, where it is a parameter; "between" where it runs on all those."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    if given.get("sets") == "between":
        return "between"
    return given["isa"] if isinstance(given.get("isa"), str) else None


def whole(item: pytest.Item, ends: set[str]) -> bool:
    return function_of(item)[1] in WHOLE and set_of(item) in ends


def quick(items: Sequence[pytest.Item], sets: tuple[str, ...]) -> list[pytest.Item]:
    """The quick tier of `items`; `sets` are those of this machine, best first."""
    seen: dict[tuple[str, str], set] = defaultdict(set)
    ends = {sets[0], sets[-1]}
    chosen = {item for item in items if not isinstance(item, pytest.Function) or whole(item, ends)}
    rest = [item for item in items if item not in chosen and not slow(item)]
    for allowed in ({None, *ends}, {None, *sets}):  # the second for what occurs on neither end
        for item in rest:
            names = {each for each in choices(item) if wanted(each) and (each[0] != "isa" or each[1] in ends)}
            if set_of(item) in allowed and (new := {("", 0), *names} - seen[function_of(item)]):
                seen[function_of(item)] |= new
                chosen.add(item)
    return [item for item in items if item in chosen]
