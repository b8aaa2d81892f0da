"""Every public docstring is complete: what goes in and comes out, errors, bound, source, and an example that is run.

It goes through the public names, so a new one cannot do without. The examples run as doctests.
"""

from __future__ import annotations

import builtins
import inspect
import re
import typing

import pytest

import dynq_numba as dq

#: By the name that a user writes: what `dq` exports, and the steps of a Chain.
PUBLIC = {name: getattr(dq, name) for name in dq.__all__ if name != "step"} | {
    f"step.{step.__name__}": step for step in typing.get_args(dq.step.Step)
}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if not inspect.isclass(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
#: They have neither bound nor source.
COMPUTES_NOTHING = {
    "KVCache", "available_isas", "current_isa", "force_isa", "get_num_threads", "inspect", "set_num_threads", "save",
    "warmup",
}  # fmt: skip
#: Functions that cannot fail.
CANNOT_FAIL = {"available_isas", "get_num_threads"}
#: Classes that users make themselves; the others are results.
MADE_BY_USERS = {name for name in CLASSES if name in ("Chain", "KVCache") or name.startswith("step.")}


def sections(value: object) -> dict[str, str]:
    """A docstring by numpydoc's headings; what is above the first one under ""."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.getdoc(value) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(section: str) -> dict[str, tuple[str, str]]:
    """The names of Parameters or Attributes: of each its type, and its description."""
    found = {}
    for names, kind, text in re.findall(r"^(\w[\w, ]*?)(?: : (.*))?\n((?: .*\n?|\n)*)", section + "\n", re.MULTILINE):
        found |= {name.strip(): (kind, text.strip()) for name in names.split(",")}
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_it_begins_with_a_sentence(name):
    first, _, rest = sections(PUBLIC[name])[""].partition("\n")
    assert first.endswith((".", ":")) and len(first) <= 120, first
    assert not rest.strip() or rest.startswith("\n"), "an empty line follows it"


@pytest.mark.parametrize("name", [*FUNCTIONS, *sorted(MADE_BY_USERS)])
def test_every_parameter_is_described(name):
    told, asked = entries(sections(PUBLIC[name]).get("Parameters", "")), inspect.signature(PUBLIC[name]).parameters
    assert set(told) == set(asked)
    for parameter, (kind, text) in told.items():
        shared = text.startswith("As for `")  # several at once, of a function that is named
        assert kind or shared, f"{parameter} has no type"
        assert text, f"{parameter} has no description"


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in {"save", "set_num_threads"}])
def test_what_comes_back_is_told(name):
    assert sections(FUNCTIONS[name]).get("Returns", "").strip()


@pytest.mark.parametrize("name", sorted({*FUNCTIONS, *MADE_BY_USERS} - CANNOT_FAIL))
def test_errors_are_told(name):
    raised = re.findall(r"^(\w+(?:, \w+)*)\n +\S", sections(PUBLIC[name])["Raises"], re.MULTILINE)
    errors = [error for line in raised for error in line.split(", ")]
    assert errors and all(issubclass(getattr(builtins, error), Exception) for error in errors)


@pytest.mark.parametrize("name", sorted({*FUNCTIONS, *MADE_BY_USERS} - COMPUTES_NOTHING))
def test_bound_and_source_are_told(name):
    notes = sections(PUBLIC[name])["Notes"]
    assert re.search(r"≤|[Aa]t most|[Ww]ithin|[Ee]xact|[Bb]ound", notes), "no error bound"
    assert re.search(r"[Ss]ources?\b", notes), "no source"


@pytest.mark.parametrize("name", PUBLIC)
def test_an_example_is_run(name):
    assert ">>> " in sections(PUBLIC[name])["Examples"]


@pytest.mark.parametrize("name", sorted({*CLASSES} - MADE_BY_USERS))
def test_every_attribute_is_described(name):
    told = entries(sections(CLASSES[name])["Attributes"])
    assert all(kind and text for kind, text in told.values()), told
    public = {n for cls in CLASSES[name].__mro__[:-1] for n, v in vars(cls).items() if isinstance(v, property)}
    fields = set(getattr(CLASSES[name], "_fields", ()))
    assert {n for n in public | fields if not n.startswith("_")} <= set(told)


@pytest.mark.parametrize("name", CLASSES)
def test_methods_and_properties_have_docstrings(name):
    for attribute, value in vars(CLASSES[name]).items():
        if not attribute.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(value), attribute
