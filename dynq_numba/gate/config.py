"""gate.toml: what is compared, on which data, and what must hold.

    [models]
    reference = "model.onnx"             # the float model; paths are relative to the file
    candidate = "model.int8.onnx"

    [data]
    path = "rows.parquet"                # or .npz, or a folder of .npy or .npz (dynq_numba/evaluate/data.py)
    inputs = {input_ids = "ids"}         # input = column; others have their own names
    label = "fresh"
    classes = ["rotten", "fresh"]        # labels in the order of the outputs
    slices = ["length"]                  # columns that goals may name

    [[goal]]
    metric = "accuracy"
    max-degradation = 0.01               # one bound each: see BOUNDS
    slice = "length"                     # each of its values; or {column = "length", values = ["short"]}

All mistakes in a file are found at once, and each is named with its line.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from ..arguments.errors import UsageError
from .fairness import NAMES, RATES
from .metrics import METRICS

#: What a goal can demand, and which way it bounds: at least, at most, or as the metric has it.
BOUNDS = {
    "threshold": "metric", "max-degradation": "most", "percent-max-degradation": "most", "max-flips": "most",
    "max-flips-per-group": "most", "max-size": "most", "max-size-ratio": "most", "max-latency-ratio": "most",
    "min-coverage": "least",
}  # fmt: skip
#: Of them, those that are about a figure of merit.
OF_METRICS = ("threshold", "max-degradation", "percent-max-degradation")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


class ConfigError(UsageError):
    """A file of goals has mistakes.

    Attributes
    ----------
    mistakes : list of str
        Each with its place.
    """

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


@dataclass(frozen=True)
class Goal:
    """What must hold.

    Attributes
    ----------
    name : str
    bound : str
        A key of BOUNDS.
    limit : float
    metric : str or None
        A built-in one, or "module:function".
    fairness, group : str or None
        A measure of NAMES, and the column of the groups.
    column, values : str, tuple
        A slice: all values of the column where none are named.
    greater_is_better : bool or None
        Of a user's metric.
    critical : bool
        Whether the build stops where it does not hold.
    k : int
    """

    name: str
    bound: str
    limit: float
    metric: str | None = None
    fairness: str | None = None
    group: str | None = None
    column: str | None = None
    values: tuple[Any, ...] = ()
    greater_is_better: bool | None = None
    critical: bool = True
    k: int = 10


@dataclass(frozen=True)
class Config:
    """A whole file; attributes are named as its keys."""

    path: Path
    reference: Path
    candidate: Path
    data: Path | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    classes: tuple[Any, ...] = ()
    positive: Any = None
    decision_threshold: float = 0.5
    slices: tuple[str, ...] = ()
    output: str | None = None
    batch: int = 64
    preprocess: str | None = None
    postprocess: str | None = None
    threads: int | None = None
    semantics: Literal["rowwise", "file"] = "rowwise"
    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0
    min_rows: int = 30
    goals: tuple[Goal, ...] = ()


class _Wrong(ValueError):
    """Says what a value must be."""


def _must(what: str, good: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not good(value):
            raise _Wrong(f"must be {what}; got {value!r}")
        return value

    return check


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_label(value: Any) -> bool:
    return isinstance(value, (str, int))


def _bytes(value: Any) -> float:
    if _whole(value) and value > 0:
        return float(value)
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMG]?B)", value) if isinstance(value, str) else None
    if not found:
        raise _Wrong(f'must be a size such as "30 MB"; got {value!r}')
    return float(found[1]) * _UNITS[found[2]]


def _metric(value: Any) -> Any:
    if not isinstance(value, str) or (value not in METRICS and not _FUNCTION.fullmatch(value)):
        near = difflib.get_close_matches(str(value), METRICS, 1)
        more = f"; did you mean {near[0]}?" if near else ""
        raise _Wrong(f'must be one of {", ".join(METRICS)} or "module:function"; got {value!r}{more}')
    return value


def _inputs(value: Any) -> dict[str, str]:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return {each: each for each in value}
    if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
        return value
    raise _Wrong(f"must be a table of input = column, or a list of columns; got {value!r}")


def _slice(value: Any) -> tuple[str, tuple[Any, ...]]:
    if isinstance(value, str):
        return value, ()
    if isinstance(value, dict) and set(value) == {"column", "values"} and isinstance(value["column"], str):
        values = value["values"]
        if isinstance(values, list) and values and all(_is_label(each) for each in values):
            return value["column"], tuple(values)
    raise _Wrong(f'must be a column, or {{column = "…", values = […]}}; got {value!r}')


_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_text = _must("text", lambda value: isinstance(value, str) and value != "")
_texts = _must("a list of text", lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value))
_yes_or_no = _must("true or false", lambda value: isinstance(value, bool))
_count = _must("a positive integer", lambda value: _whole(value) and value > 0)
_some = _must("a number", _number)
_positive = _must("a number above 0", lambda value: _number(value) and value > 0)
_part = _must("a number from 0 to 1", lambda value: _number(value) and 0 <= value <= 1)
_least = _must("a number of at least 0", lambda value: _number(value) and value >= 0)
_function = _must('"module:function"', lambda value: isinstance(value, str) and bool(_FUNCTION.fullmatch(value)))
_labels = _must("a list of two or more labels, text or integers", lambda value: isinstance(value, list)
                and len(value) > 1 and all(map(_is_label, value)) and len(set(value)) == len(value))  # fmt: skip

#: What each table may hold.
TABLES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "models": {
        "reference": _text, "candidate": _text, "threads": _count,
        "semantics": _must('"rowwise" or "file"', lambda value: value in ("rowwise", "file")),
    },
    "data": {
        "path": _text, "inputs": _inputs, "label": _text, "classes": _labels,
        "positive": _must("a label, text or integer", _is_label), "decision-threshold": _some, "slices": _texts,
        "output": _text, "batch": _count, "preprocess": _function, "postprocess": _function,
    },
    "statistics": {
        "confidence": _must("a number between 0.5 and 1", lambda value: _number(value) and 0.5 < value < 1),
        "resamples": _must("an integer of at least 100", lambda value: _whole(value) and value >= 100),
        "seed": _must("an integer of at least 0", lambda value: _whole(value) and value >= 0), "min-rows": _count,
    },
    "goal": {
        "name": _text, "metric": _metric, "greater-is-better": _yes_or_no, "is-critical": _yes_or_no, "k": _count,
        "fairness": _must(f"one of {', '.join(NAMES)}", lambda value: value in NAMES), "group": _text, "slice": _slice,
        "threshold": _some, "max-degradation": _least, "percent-max-degradation": _least, "max-flips": _part,
        "max-flips-per-group": _part, "max-size": _bytes, "max-size-ratio": _positive, "max-latency-ratio": _positive,
        "min-coverage": _part,
    },
}  # fmt: skip
_NEEDED = {"models": ("reference", "candidate"), "data": (), "statistics": (), "goal": ()}
#: Keys that the dataclass calls something else.
_RENAMED = {"path": "data"}


class _Reader:
    """Reads tables, and gathers what is wrong."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.mistakes, self.lines = path, list[tuple[int, str]](), _lines(text)

    def wrong(self, where: tuple[str | int, ...], what: str) -> None:
        line = next((self.lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self.lines), 1)
        self.mistakes.append((line, f"{self.path.name}:{line}: {what}"))

    def table(self, where: tuple[str | int, ...], given: Any) -> dict[str, Any]:
        kind, name = str(where[0]), _named(where)
        if not isinstance(given, dict):
            self.wrong(where, f"{name} must be a table")
            return {}
        known, good = TABLES[kind], {}
        for key, value in given.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(known)}"
                self.wrong((*where, key), f"{name} has no {key}; {hint}")
                continue
            try:
                good[key] = known[key](value)
            except _Wrong as error:
                self.wrong((*where, key), f"{name}: {key} {error}")
        for key in _NEEDED[kind]:
            if key not in given:
                self.wrong(where, f"{name} must have {key}")
        return good

    def goal(self, number: int, given: Any, data: Mapping[str, Any]) -> Goal | None:
        where, before = ("goal", number), len(self.mistakes)
        found = self.table(where, given)
        if len(self.mistakes) > before:
            return None
        name, bounds = _named(where), [key for key in BOUNDS if key in found]
        if len(bounds) != 1:
            self.wrong(where, f"{name} must have one of {', '.join(BOUNDS)}; got {', '.join(bounds) or 'none'}")
            return None
        bound = bounds[0]
        for what in filter(None, _misfits(bound, found, data)):
            self.wrong(where, f"{name}: {what}")
        column, values = found.get("slice", (None, ()))
        return Goal(
            found.get("name") or _described(found, bound), bound, found[bound], found.get("metric"),
            found.get("fairness"), found.get("group"), column, values, found.get("greater-is-better"),
            found.get("is-critical", True), found.get("k", 10),
        )  # fmt: skip


def _misfits(bound: str, found: Mapping[str, Any], data: Mapping[str, Any]) -> list[str | None]:
    """What does not go together in a goal."""
    metric, fair, group = (found.get(key) for key in ("metric", "fairness", "group"))
    own, rows = metric is not None and metric not in METRICS, bound in OF_METRICS or "flips" in bound
    per_group, told = bound == "max-flips-per-group", "greater-is-better" in found
    columns = [each for each in (group, found.get("slice", (None,))[0]) if each]
    labelled = (metric is not None and metric != "cosine") or fair in RATES
    return [
        f"{bound} goes with metric or fairness" if bound in OF_METRICS and not metric and not fair else None,
        f"{bound} goes without metric and fairness" if bound not in OF_METRICS and (metric or fair) else None,
        f"fairness = {fair!r} is about rates and goes without metric" if fair in RATES and metric else None,
        f"fairness = {fair!r} goes with metric" if fair and fair not in RATES and not metric else None,
        "fairness goes with group, a column" if fair and not group else None,
        "max-flips-per-group goes with group, a column" if per_group and not group else None,
        "group goes with fairness or max-flips-per-group" if group and not fair and not per_group else None,
        f"{bound} goes without slice" if "slice" in found and not rows else None,
        "by_group has each group as a slice already" if fair == "by_group" and "slice" in found else None,
        f"metric {metric!r} is a user's: greater-is-better must say true or false" if own and not told else None,
        "greater-is-better is for metrics of users" if told and not own else None,
        "max-flips-per-group has each group as a slice already" if per_group and "slice" in found else None,
        "k is for recall@k" if "k" in found and metric != "recall@k" else None,
        "[data] must have path" if rows and "path" not in data else None,
        "[data] must have label" if rows and labelled and "label" not in data else None,
        *(f"column {each!r} must be one of data.slices" for each in columns if each not in data.get("slices", ())),
    ]


def _described(found: Mapping[str, Any], bound: str) -> str:
    """A name for a goal that has none."""
    what = " of ".join(found[key] for key in ("fairness", "metric") if key in found)
    what += f" by {found['group']}" if "group" in found and what else ""
    return f"{what}: {bound}" if what else bound


def _named(where: tuple[str | int, ...]) -> str:
    return f"goal {int(where[1]) + 1}" if where[0] == "goal" else f"[{where[0]}]"


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The lines of tables and keys."""
    found: dict[tuple[str | int, ...], int] = {}
    at: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[(\[)?\s*([\w-]+)\s*\]", line):
            count = sum(len(key) == 2 and key[0] == head[2] and isinstance(key[1], int) for key in found)
            at = (head[2], count) if head[1] else (head[2],)
            found.setdefault(at, number)
            found.setdefault(at[:1], number)
        elif key := re.match(r"""\s*["']?([\w-]+)["']?\s*[=.]""", line):
            found.setdefault((*at, key[1]), number)
    return found


def read_config(path: str | PathLike[str]) -> Config:
    """Read a file of goals.

    Raises
    ------
    ConfigError
        With every mistake in the file.
    OSError
        From reading.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
        given = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path.name}: is no TOML: {error}"]) from error
    reader = _Reader(path, text)
    for key in given:
        if key not in TABLES:
            near = difflib.get_close_matches(key, TABLES, 1)
            hint = f"did you mean [{near[0]}]?" if near else f"it may have {', '.join(TABLES)}"
            reader.wrong((key,), f"the file has no {key}; {hint}")
    models, data, statistics = (reader.table((kind,), given.get(kind, {})) for kind in ("models", "data", "statistics"))
    goals = given.get("goal", [])
    if not isinstance(goals, list) or not goals:
        reader.wrong(("goal",), "the file must have goals, each a table [[goal]]")
        goals = []
    read = [reader.goal(i, each, given.get("data", {})) for i, each in enumerate(goals)]
    if "preprocess" in data and "inputs" not in data:
        reader.wrong(("data", "preprocess"), "[data]: preprocess goes with inputs, the columns that it takes")
    if "positive" in data and "classes" in data and data["positive"] not in data["classes"]:
        reader.wrong(("data", "positive"), f"[data]: positive must be one of classes; got {data['positive']!r}")
    names = [goal.name for goal in read if goal]
    for i, goal in enumerate(read):
        if goal and names.index(goal.name) < i and len(names) == len(read):
            reader.wrong(("goal", i), f"goal {i + 1}: an earlier goal is called {goal.name!r}, too; give it a name")
    if reader.mistakes:
        raise ConfigError([what for _, what in sorted(reader.mistakes)])
    plain = {_RENAMED.get(key, key.replace("-", "_")): value for key, value in (models | data | statistics).items()}
    for key in ("reference", "candidate", "data"):
        if key in plain:
            plain[key] = path.parent / plain[key]
    for key in ("classes", "slices"):
        plain[key] = tuple(plain.get(key, ()))
    return Config(path=path, **plain, goals=tuple(goal for goal in read if goal))
