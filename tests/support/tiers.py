"""Which tests `make test` runs: the quick tier.

It has every page and docstring, every golden digest, and of every other test function so many cases that each name that
its parameters take occurs (each-choice coverage): every operator, argument, scheme and form meets every promise. Of
numbers and shapes it takes FEW, of the instruction sets the two ends: the best one of this machine, and `portable`.
Those between would have to be compiled first. Left to `make test-all` are they, the combinations, what is SLOW, and
what needs an extra that `make test` does not install.

A test says so by `@pytest.mark.extra("gate")`, its file by `pytestmark = pytest.mark.extra("gate")`, a page by a line
`<!-- extra: gate -->`, a docstring by `.. extra: gate`. Where the extra is absent, it is skipped; in `make test-all` it
fails.
"""

from __future__ import annotations

import functools
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

#: Test files and functions that compile on an empty cache or for many types, fetch or build wheels, take memory away,
#: and those of an operator without a compiler: the golden digests of all operators come out without one, too.
SLOW = frozenset({
    "test_caches", "test_environment", "test_float_scales", "test_import", "test_interrupts", "test_memory",
    "test_new_operator", "test_new_set", "test_packaging", "test_real_models", "test_real_sessions", "test_sources",
    "test_search", "test_warmup", "test_weight_cache",
    "test_bench_times_a_model_beside_another_runtime", "test_what_a_peer_cannot_run_is_told", "test_doctor_measures",
    "test_assumed_targets_never_abort_and_give_the_same_bits", "test_speech_is_understood",
    "test_a_cache_that_several_processes_filled_confuses_no_kernels",
    "test_2000_mutated_files_give_a_result_or_a_clear_error", "test_nodes_of_onnx", "test_all_node_tests",
    "test_a_session_with_a_cache_that_is_read_only", "test_every_type_in_compiled_code",
    "test_other_targets_give_the_same_bits",
    "test_variants_compiled_by_separate_processes_stay_apart",
    "test_every_instruction_set_has_a_process_of_its_own", "test_looks_at_minilm",
    "test_processes_get_texts_and_inputs_of_any_name",
    "test_compiling_that_takes_long_is_told", "test_info_is_one_screen_and_tells_whether_kernels_are_compiled",
    "test_the_reference_alone_gives_the_same_bits", "test_the_same_bits_without_a_compiler",
    "test_without_a_compiler_the_reference_gives_the_same_bits", "test_without_a_compiler_the_same_bits",
    "test_without_a_compiler_the_same_bits_and_errors", "test_without_compiler_the_same_file",
    "test_without_jit_the_same_bits", "test_linear_of_any_array", "test_inference_loop_compiled_as_a_whole",
    "test_scores_from_quantized_parts", "test_recurrent_loop", "test_integers_in_compiled_code",
    "test_columns_held_only_by_compiled_code_stay_alive", "test_programs_have_sympy_itself",
})  # fmt: skip
#: Files of tests/process that run one after another, behind the others: what they see depends on who else is busy.
ALONE = frozenset({"test_cores", "test_interrupts", "test_threads"})
#: Test functions of which all cases are quick, on the two ends of the instruction sets.
WHOLE = frozenset({"test_results_are_those_of_the_golden_file"})
#: Of each parameter so many values that are no names.
FEW = 2
EXTRA = re.compile(r"^\s*(?:<!--|\.\.) extra: ([\w-]+)", re.MULTILINE)
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def function_of(item: pytest.Item) -> tuple[str, str]:
    return str(item.path), getattr(item, "originalname", None) or item.name


def slow(item: pytest.Item) -> bool:
    return not SLOW.isdisjoint({item.path.stem, function_of(item)[1]})


def extras(item: pytest.Item) -> tuple[str, ...]:
    """Names of the extras that a test, a page or a docstring needs."""
    if isinstance(item, pytest.DoctestItem):
        return tuple(EXTRA.findall(_text(item)))
    return tuple(name for mark in item.iter_markers("extra") for name in mark.args)


def _text(item: pytest.DoctestItem) -> str:
    return item.path.read_text("utf-8") if item.path.suffix == ".md" else item.dtest.docstring or ""


@functools.cache
def missing(extra: str) -> tuple[str, ...]:
    """Distributions that pyproject.toml names for an extra, and that are not installed."""
    listed = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["optional-dependencies"][extra]
    names = [name for line in listed if (name := re.match(r"[\w.-]+", line)[0]) != "dynq-numba"]
    nested = [name for line in listed if line.startswith("dynq-numba[") for name in line[11:-1].split(",")]
    return tuple(filter(_absent, names)) + tuple(name for each in nested for name in missing(each))


def _absent(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return True
    return False


def need_extras(item: pytest.Item) -> None:
    """Skip a test, or fail it, where an extra that it needs is not installed."""
    for extra in extras(item):
        if absent := missing(extra):
            why = f"the extra {extra!r} is not installed whole: {', '.join(absent)}"
            if os.environ.get("DYNQ_TEST_EXTRAS") == "required":
                pytest.fail(why, pytrace=False)
            pytest.skip(why)


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
    able = [item for item in items if not extras(item)]
    chosen = {item for item in able if not isinstance(item, pytest.Function) or whole(item, ends)}
    for item in chosen:
        seen[function_of(item)] |= {("", 0), *choices(item)}
    rest = [item for item in able if item not in chosen and not slow(item)]
    for allowed in ({None, *ends}, {None, *sets}):  # the second for what occurs on neither end
        for item in rest:
            names = {each for each in choices(item) if wanted(each) and (each[0] != "isa" or each[1] in ends)}
            if set_of(item) in allowed and (new := {("", 0), *names} - seen[function_of(item)]):
                seen[function_of(item)] |= new
                chosen.add(item)
    return [item for item in items if item in chosen]
