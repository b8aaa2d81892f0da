"""What is written out from the operators' rows: the package's names, its folders, the README's table, the reference.

    python tests/programs/rows.py            say which files differ; status 1 if any does
    python tests/programs/rows.py --write    write them
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

from numba.core.typing.templates import builtin_registry

import dynq_numba as dq
from dynq_numba.operators import ALL
from dynq_numba.operators.base import Operator

ROOT = Path(dq.__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
#: Rows of the README's table that are no operator.
OTHERS = (("Files", ("`save`", "`load`", "`inspect`"), "safetensors, memory-mapped, no pickle"),)


def between(text: str, start: str, end: str, new: str) -> str:
    """The text with `new` between the only two places where `start` and `end` stand."""
    head, tail = text.split(start)
    return head + start + new + end + tail.split(end, 1)[1]


def public_imports(operator: Operator) -> Iterator[tuple[str, str]]:
    """(module, name) of its public names: as its row imports them."""
    folder = f".operators.{operator.name}"
    for node in ast.parse((ROOT / "dynq_numba" / "operators" / operator.name / "__init__.py").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            for each in node.names:
                if each.name in operator.public:
                    yield f"{folder}.{node.module}" if node.module else folder, each.name


def isort(name: str) -> tuple[bool, bool, str]:
    """Constants, classes, others: as ruff sorts names."""
    return not name.isupper(), not name[0].isupper(), name


def names(text: str) -> str:
    """dynq_numba/names.py: imports and ``__all__``."""
    modules: dict[str, list[str]] = {}
    for operator in ALL:
        for module, name in public_imports(operator):
            modules.setdefault(module, []).append(name)
    lines = []
    for module in sorted(modules):
        spelt = [f"{name} as {name}" if name == "step" else name for name in sorted(modules[module], key=isort)]
        lines.append(f"from {module} import {', '.join(spelt)}\n")
    text = between(text, "from .inspection import inspect\n", "from .reading", "".join(lines))
    imported = [
        alias.asname or alias.name
        for node in ast.parse(text).body if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    ]  # fmt: skip
    public = sorted(name for name in imported if name != "watch")
    return between(text, "__all__ = [\n", "]\n", "".join(f'    "{name}",\n' for name in public))


def jitted(text: str) -> str:
    """dynq_numba/__init__.py: which names work inside numba.njit."""
    compiled = {id(function) for function, _ in builtin_registry.globals}
    listed = ", ".join(sorted(n for row in ALL for n, value in row.public.items() if id(value) in compiled))
    return between(text, "``numba.njit`` functions:\n\n", "\n\nThe others", wrapped(listed + ".", "    ", 118))


def wrapped(text: str, indent: str, width: int) -> str:
    """Lines of at most so many characters, broken at spaces only."""
    lines = [indent]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) > width:
            lines.append(indent)
        lines[-1] += f"{word} "
    return "\n".join(line.rstrip() for line in lines)


def packages(text: str) -> str:
    """pyproject.toml: every folder with code, `kernels` where it is installed."""
    found = [path for top in ("dynq_numba", "kernels") for path in (ROOT / top).rglob("__init__.py")]
    dotted = [".".join(path.parent.relative_to(ROOT).parts) for path in found]
    kept = sorted(f"dynq_numba.{name}" if name.startswith("kernels") else name for name in dotted)
    return between(text, "packages = [\n", "]\n", "".join(f'    "{name}",\n' for name in kept))


def table(text: str) -> str:
    """README.md: a row for each operator, with the names that users write."""
    public = [row for row in ALL if row.public]
    rows = [(row.title, [f"`{name}`" for name in row.public if shown(row, name)], row.about) for row in public]
    lines = [f"| {title} | {', '.join(known)} | {about} |\n" for title, known, about in (*rows, *OTHERS)]
    start, end = "<!-- begin functions: make rows -->\n", "\n<!-- end functions -->"
    return between(text, start, end, "\n| | | |\n|---|---|---|\n" + "".join(lines))


def shown(row: Operator, name: str) -> bool:
    """Not what `pack_…` gives, and no old name."""
    return not name.startswith("Packed") and not (inspect.getdoc(row.public[name]) or "").startswith("The old name")


def page(operator: Operator) -> str:
    """Its page of the reference."""
    entries = [entry for name, value in operator.public.items() for entry in entries_of(name, value)]
    listed = "".join(f"   {name}\n" for name, _ in entries)
    about = operator.about[0].upper() + operator.about[1:]
    return (
        f"# {operator.title}\n\n{about}.\n\n```{{eval-rst}}\n.. currentmodule:: dynq_numba\n\n"
        f".. autosummary::\n   :nosignatures:\n\n{listed}\n" + "\n".join(entry for _, entry in entries) + "```\n"
    )


def entries_of(name: str, value: object) -> Iterator[tuple[str, str]]:
    """(name, directive) of what it stands for; of a module, of its steps."""
    if isinstance(value, ModuleType):
        for each in get_args(value.Step):
            entry = f"{name}.{each.__name__}"
            yield entry, f".. autoclass:: dynq_numba.{entry}\n   :members:\n"
    elif inspect.isclass(value):
        made = "()" if name.startswith("Packed") else ""  # users do not call it
        inherited = "" if value.__base__ in (object, tuple) else "   :inherited-members:\n"
        yield name, f".. autoclass:: {name}{made}\n   :members:\n{inherited}"
    else:
        yield name, f".. autofunction:: {name}\n"


def made() -> dict[Path, str]:
    """What each file should be."""
    package = ROOT / "dynq_numba"
    files = {package / "__init__.py": jitted, package / "names.py": names}
    files |= {ROOT / "pyproject.toml": packages, ROOT / "README.md": table}
    pages = {REFERENCE / f"{operator.name}.md": page(operator) for operator in ALL if operator.public}
    return {path: make(path.read_text()) for path, make in files.items()} | pages


def main() -> int:
    differ = {path: text for path, text in made().items() if not path.exists() or path.read_text() != text}
    for path, text in differ.items():
        print(path.relative_to(ROOT))
        if "--write" in sys.argv[1:]:
            path.write_text(text)
    return 1 if differ and "--write" not in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
