"""Who imports whom: every import of the package is read, and held to the layers that ARCHITECTURE.md draws."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cases
import pytest

import dynq_numba
from dynq_numba.operators import ALL

ROOT = Path(__file__).parents[2]
PATHS = sorted([*(ROOT / "kernels").rglob("*.py"), *(ROOT / "dynq_numba").rglob("*.py")])
FILES = {path.relative_to(ROOT).as_posix(): path for path in PATHS}

#: The kinds of nodes that tests look at.
READ = ast.Import, ast.ImportFrom, ast.Attribute

#: What a folder of kernels/ may import that belongs to no operator.
SHARED = {
    "base": "", "isa": "base", "objects": "base", "threads": "base", "activations": "base isa",
    "gemm": "base isa objects activations quantize", "program": "base objects",
    "region": "base isa threads activations", "reduce": "base isa threads region",
    "sampling": "base", "selection": "base reduce",
}  # fmt: skip
#: What any of them may.
KERNELS = {name: set(text.split()) for name, text in (SHARED | {n: r.imports for n, r in cases.ROWS.items()}).items()}
#: What a folder of dynq_numba/operators/ may import of others.
OPERATORS = {row.name: row.uses for row in ALL}
#: What tells numba of functions and types.
REGISTERS = {
    "overload", "overload_method", "register_model", "typeof_impl", "unbox", "box", "lower_constant", "type_callable",
}  # fmt: skip
#: The layers of dynq_numba, lowest first: a part imports those below it.
LAYERS = (
    "kernels", "tables", "arguments", "runtime", "njit", "files", "operators", "saving", "reading", "inspection",
    "warming", "names", "moved", "checkup", "graph", "planning", "onnx", "evaluate", "gate", "timing", "report",
    "cli",
)  # fmt: skip
#: What a folder of bench/ may import of others: the harness knows no topic.
BENCH: dict[str, str] = {
    "peers": "",
    "harness": "peers",
    "publish": "peers harness",
    "topics": "peers harness publish",
    "tools": "peers harness publish topics",
}
#: Files that write LLVM IR which computes.
EMITTERS = ("kernels/isa/", "kernels/gemm/", "kernels/rowwise/sweep.py")
#: Files with a few single loads, stores, calls and addresses.
GLUE = ("kernels/base/", "kernels/threads/tasks.py", "kernels/objects/", "dynq_numba/njit/")


def module_of(file: str) -> str:
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return f"dynq_numba.{name}" if file.startswith("kernels") else name


MODULES = {module_of(file): file for file in FILES}


@cache
def nodes(file: str) -> list[ast.AST]:
    """What a file is made of: every test looks through the same."""
    return [node for node in ast.walk(ast.parse(FILES[file].read_text())) if isinstance(node, READ)]


def _imports(file: str) -> Iterator[tuple[int, str, str]]:
    module = module_of(file)
    package = module.split(".") if file.endswith("__init__.py") else module.split(".")[:-1]
    for node in nodes(file):
        if isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            if base.split(".")[0] == "dynq_numba":
                for alias in node.names:
                    yield node.lineno, base, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "dynq_numba":
                    yield node.lineno, alias.name, ""


def checked(file: str) -> set[int]:
    """The lines that only type checkers read."""
    tests = [node for node in ast.walk(ast.parse(FILES[file].read_text())) if isinstance(node, ast.If)]
    found = [node for node in tests if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"]
    return {child.lineno for node in found for child in node.body}


@cache
def imports(file: str) -> list[tuple[int, str, str]]:
    """(line, module, name) of every import of the package's own: at any depth, for type checking only, too."""
    return list(_imports(file))


def target_of(base: str, name: str) -> str:
    """The file that an import leads to."""
    return MODULES.get(f"{base}.{name}") or MODULES[base]


def test_there_is_something_to_read():
    assert len(FILES) > 150 and sum(len(imports(file)) for file in FILES) > 1000


@pytest.mark.parametrize("folder", KERNELS)
def test_kernels_import_what_is_below_them(folder):
    allowed = {folder, *KERNELS[folder]}
    for file in FILES:
        if file.startswith(f"kernels/{folder}/"):
            for line, base, name in imports(file):
                parts = target_of(base, name).split("/")
                assert parts[0] == "kernels" and parts[1] in allowed, f"{file}:{line} imports {base} {name}"


def test_no_folder_of_kernels_imports_itself_by_way_of_others():
    graphlib.TopologicalSorter(KERNELS).prepare()


def test_every_folder_of_kernels_has_its_line():
    assert {file.split("/")[1] for file in FILES if file.startswith("kernels/")} - {"__init__.py"} == set(KERNELS)


@pytest.mark.parametrize("part", LAYERS[1:])
def test_parts_import_what_is_below_them(part):
    allowed = LAYERS[: LAYERS.index(part) + 1]
    for file in FILES:
        if file.startswith((f"dynq_numba/{part}/", f"dynq_numba/{part}.py")):
            for line, base, name in imports(file):
                parts = target_of(base, name).removesuffix(".py").split("/")
                layer = parts[0] if parts[0] == "kernels" else parts[1]
                if part in ("cli", "evaluate", "gate") and layer == "__init__":
                    continue  # the version and the public functions
                if file == "dynq_numba/onnx/__init__.py" and line in checked(file):
                    continue  # public names of layers above, which come when they are asked for
                assert layer in allowed, f"{file}:{line} imports {base} {name}"


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_import_no_other_but_those_they_are_made_of(operator):
    for file in FILES:
        if file.startswith(f"dynq_numba/operators/{operator}/"):
            for line, base, name in imports(file):
                parts = target_of(base, name).split("/")
                if parts[:2] == ["dynq_numba", "operators"] and len(parts) > 3:
                    assert parts[2] in (operator, *OPERATORS[operator]), f"{file}:{line} imports {base} {name}"


def test_every_operator_has_its_line_and_its_kernels():
    folders = {file.split("/")[2] for file in FILES if file.startswith("dynq_numba/operators/") and file.count("/") > 2}
    assert folders == set(OPERATORS)
    assert all((ROOT / "kernels" / folder / "__init__.py").exists() for folder in folders)


def test_nobody_imports_private_names():
    private = [
        f"{file}:{line} imports {base}.{name}" for file in FILES for line, base, name in imports(file)
        if name.startswith("_") and name not in ("__version__", "__all__")
    ]  # fmt: skip
    assert private == []


def test_numba_is_told_of_overloads_and_types_where_rows_are_registered():
    told = []
    for file in [file for file in FILES if file.startswith("dynq_numba") and "/njit/" not in file]:
        for node in nodes(file):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba"):
                told += [f"{file}:{node.lineno}" for alias in node.names if alias.name in REGISTERS]
            elif isinstance(node, ast.Attribute) and node.attr in REGISTERS:
                told.append(f"{file}:{node.lineno}")
    assert told == []


@pytest.mark.parametrize("file", [file for file in FILES if Path(file).name.startswith("reference")])
def test_references_import_numpy_and_each_other(file):
    for node in nodes(file):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= {"numpy", "math"}, f"{file}:{node.lineno}"
    for line, base, name in imports(file):
        target = Path(target_of(base, name)).name
        assert target.startswith("reference") or target in ("exact.py", "context.py"), f"{file}:{line} imports {target}"


def test_llvm_ir_is_written_where_it_belongs():
    emitting = [
        file for file in FILES
        if any(isinstance(node, ast.ImportFrom) and node.module == "llvmlite" and node.names[0].name == "ir"
               for node in nodes(file))
    ]  # fmt: skip
    assert len(emitting) > 10
    elsewhere = [file for file in emitting if not Path(file).name.startswith(("emit", "intrinsics"))]
    assert [file for file in elsewhere if not file.startswith((*EMITTERS, *GLUE))] == []


@pytest.mark.parametrize("folder", BENCH)
def test_folders_of_the_bench_import_what_is_below_them(folder):
    allowed, read = {folder, *BENCH[folder].split()}, 0
    for path in (ROOT / "bench" / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, (ast.Import, ast.ImportFrom)) or getattr(node, "level", 0):
                continue  # relative: its own folder
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for name in [base + alias.name for alias in node.names]:
                if name.startswith("bench."):
                    read += 1
                    assert name.split(".")[1] in allowed, f"{path.name}:{node.lineno} imports {name}"
    assert read or folder == "peers"


def test_tab_shows_the_public_names():
    assert dir(dynq_numba) == sorted([*dynq_numba.__all__, "__version__", "onnx"])
    assert all(hasattr(dynq_numba, name) for name in dir(dynq_numba))


def test_no_module_has_the_name_of_a_public_function():
    """Its import would put it in the function's place: names are put there later."""
    modules = {path.stem for path in (ROOT / "dynq_numba").iterdir()} | {"kernels"}
    assert modules.isdisjoint(dynq_numba.__all__)
