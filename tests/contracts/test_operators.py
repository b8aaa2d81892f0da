"""Every operator is one row (`operators.ALL`), and has all its places."""

import json
from pathlib import Path

import cases
import golden
import pytest
import rows
from numba.core.typing.templates import builtin_registry

import dynq_numba as dq
from dynq_numba.operators import ALL
from dynq_numba.runtime import kernel_table

ROOT = Path(__file__).parents[2]
#: Public names that belong to no operator.
PROCESS = {
    "available_isas", "current_isa", "force_isa", "get_num_threads", "inspect", "load", "save", "set_num_threads",
    "warmup",
}  # fmt: skip

each = pytest.mark.parametrize("operator", ALL, ids=lambda operator: operator.name)


def test_the_names_of_the_package_are_those_of_the_rows():
    public = [name for operator in ALL for name in operator.public]
    assert len(set(public)) == len(public)
    assert set(public) | PROCESS == set(dq.__all__)
    assert all(getattr(dq, name) is value for operator in ALL for name, value in operator.public.items())


@pytest.mark.parametrize("path", rows.made(), ids=lambda path: path.name)
def test_what_is_written_out_from_the_rows_is_up_to_date(path):
    assert path.read_text() == rows.made()[path], "make rows"


def test_the_reference_has_a_page_for_each_row():
    pages = {path.stem for path in rows.REFERENCE.glob("*.md")}
    assert pages == {operator.name for operator in ALL if operator.public} | {
        "files", "process", "onnx", "conformance", "spellings", "command-line", "gate", "report"}


def test_operators_stand_behind_those_that_they_are_made_of():
    for place, operator in enumerate(ALL):
        assert set(operator.uses) <= {before.name for before in ALL[:place]}


@each
def test_numba_knows_what_the_row_says(operator):
    known = {id(function) for function, _ in builtin_registry.globals}
    functions = [function for overload in operator.overloads for function in overload.functions]
    assert {id(function) for function in functions} <= known
    assert not {id(each) for each in operator.public.values()} & known - {id(function) for function in functions}
    packed = {each for kind in operator.types for each in kind.packed}
    assert packed == {form.packed for form in operator.saved.values()}


def test_the_kernel_table_is_made_of_the_rows():
    operations = [family.operation for operator in ALL for family in operator.kernels]
    assert {kernel.operation for kernel in kernel_table.kernels().values()} == set(operations)


@each
def test_a_row_is_whole(operator):
    assert operator.warm is not None and list(operator.warm())
    assert operator.kernels or operator.name == "chain"
    assert operator.overloads or operator.name == "chain" or not operator.public
    packed = {name for name in operator.public if name.startswith("Packed")}
    assert packed == {form.packed.__name__ for form in operator.saved.values()}


@each
def test_an_operator_has_its_places(operator):
    kernels, package = ROOT / "kernels" / operator.name, ROOT / "dynq_numba" / "operators" / operator.name
    assert operator.name == "chain" or (kernels / "reference.py").exists()
    assert (kernels / "worker.py").exists() and (kernels / "call.py").exists()
    assert (package / "backend.py").exists() or operator.name == "chain"
    assert list((ROOT / "tests" / "operators" / operator.name).glob("test_*.py"))


@each
def test_an_operator_has_its_row_in_the_catalogue(operator):
    row = cases.ROWS[operator.name]
    assert row.golden and row.golden.keys() <= json.loads(golden.FILE.read_text()).keys()
    assert row.extremes or operator.name == "chain"
    for size in ("small", "middle"):
        named = {call.name.split(",")[0] for call in row.calls(size)}
        assert named & {*operator.public, "chain", "matmul"} or not operator.public, f"no call: {named}"
    assert row.bench and all((ROOT / "bench" / "topics" / f"{name}.py").is_file() for name in row.bench)


def test_the_catalogue_names_operators_only():
    assert cases.ROWS.keys() == {operator.name for operator in ALL}
    names = [call.name for call in cases.calls("small")]
    assert len(names) == len(set(names))
