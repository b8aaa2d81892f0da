"""The extras of the package: what each adds, which modules it brings, and the one sentence that says how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple


class Extra(NamedTuple):
    """An entry of ``[project.optional-dependencies]`` in pyproject.toml that users install."""

    #: Modules that it brings, as they are imported.
    modules: tuple[str, ...]
    #: What one can do with it.
    adds: str

    @property
    def missing(self) -> list[str]:
        """Its modules that are not installed."""
        return [name for name in self.modules if find_spec(name) is None]


EXTRAS: dict[str, Extra] = {
    "onnx": Extra(("onnx", "onnx_ir"), "ONNX models: quantize, run, inspect, compare, verify, search"),
    "evaluate": Extra(("pyarrow",), "data from parquet files"),
    "gate": Extra(("sklearn", "fairlearn"), "dynq gate: metrics, slices, fairness, verdicts"),
    "report": Extra(("jinja2", "altair", "vl_convert"), "--report out.html: a page with charts"),
}


def pip_line(extra: str) -> str:
    """What a user types to get an extra."""
    return f"pip install 'dynq-numba[{extra}]'"


@contextmanager
def needed(extra: str, what: str) -> Iterator[None]:
    """A block that imports modules of an extra; `what` needs them.

        with needed("report", "a report"):
            import jinja2

    Raises
    ------
    ImportError
        Where one is not there: names it, and says what to type.
    """
    try:
        yield
    except ImportError as error:
        name = error.name or str(error)
        if name.partition(".")[0] == "dynq_numba":
            raise
        raise ImportError(f"{what} needs {name}: {pip_line(extra)}", name=name) from error


def load(module: str, extra: str, what: str) -> Any:
    """A module of a package that an extra brings.

    Raises
    ------
    ImportError
        One sentence, with the pip line.
    """
    with needed(extra, what):
        return import_module(module)
