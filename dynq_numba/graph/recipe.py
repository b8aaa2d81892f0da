"""A recipe: ordered rules that say which layer is quantized how. The first rule that matches a layer wins.

    [[rule]]
    match = "encoder\\.layer\\.0\\."     # regular expression, found in the name of the node or of a weight of it
    op = ["MatMul", "Gemm"]              # and the operator is one of these
    bits = 4                             # 8, 4, or 32: stays float32
    group_size = 32                      # what shares a scale: or granularity = "per_channel" or "per_tensor"
    x_bits = 8                           # of x; 16 (w8a16) goes with bits = 8, per channel or tensor
    rotate = true                        # x times a Hadamard matrix, in blocks of 128, or of 64, 32, 16 columns
    smooth = true                        # columns of x divided by factors: 0.5, or another number from 0 to 1
    outliers = 4                         # so many columns of x, those of the largest values, stay float32
    gptq = true                          # weights are rounded so that errors on the data cancel out
    reason = "too sensitive"             # what the receipt says of layers that stay float32

    attention = 32                       # at the top: bits of the products in attention; else 8, or 32 in a decoder

`smooth`, `outliers` and `gptq` need data: some rows of typical inputs. All four are for MatMul and Gemm.

A rule that matches no layer is an error: it is a typing mistake, or the model has changed. The products of attention
are of two activations: no weight is stored for them. Our session alone multiplies them in 8 bits.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from ..arguments import checks
from ..kernels.linear.emit_rotation import BLOCKS
from ..operators.linear.pack import check_wide
from ..operators.linear.packed import X_BITS
from ..operators.linear.schemes import GRANULARITIES, GROUP_SIZES

FLOAT = 32
BITS = (8, 4, FLOAT)
ATTENTION_BITS = (8, FLOAT)
#: Of 4 bits, one scale per channel loses too much (docs/NUMERICS.md); so there groups are the default.
GROUP_OF_4_BITS = 32
#: Columns of x that may stay float32.
MOST_OUTLIERS = 64
_FORM = ("bits", "granularity", "group_size", "x_bits", "rotate", "smooth", "outliers", "gptq")
_KEYS = ("match", "op", *_FORM, "reason")


@dataclass(frozen=True)
class Scheme:
    """How a layer is stored."""

    bits: int = 8
    granularity: str = "per_channel"
    group_size: int | None = None
    x_bits: int = 8
    #: The largest block of the rotation, 0 for none.
    rotate: int = 0
    #: How much of the difference between columns of x goes to the weight.
    smooth: float | None = None
    outliers: int = 0
    gptq: bool = False

    @classmethod
    def of(
        cls, bits: Any = 8, granularity: Any = None, group_size: Any = None, x_bits: Any = 8, rotate: Any = False,
        smooth: Any = False, outliers: Any = 0, gptq: Any = False,
    ) -> Scheme:  # fmt: skip
        """From what a user said; raises ValueError naming the argument."""
        checks.choice("bits", bits, BITS)
        checks.choice("x_bits", x_bits, X_BITS)
        more = _treatment(rotate, smooth, outliers, gptq)
        if bits == FLOAT:
            if granularity is not None or group_size is not None or x_bits != 8:
                raise ValueError("bits=32 stays float32, without granularity, group_size or x_bits")
            if any(more.values()):
                raise ValueError(f"bits=32 stays float32, without {', '.join(name for name in more if more[name])}")
            return cls(FLOAT, "none")
        if granularity is None:
            granularity = "per_group" if group_size is not None or bits == 4 else "per_channel"
        checks.choice("granularity", granularity, GRANULARITIES)
        if x_bits == 16:
            check_wide(bits, granularity, None, range(outliers))
        if granularity != "per_group":
            if group_size is not None:
                raise ValueError(f'group_size={group_size} goes with granularity="per_group"; got {granularity!r}')
            return cls(bits, granularity, None, x_bits, **more)
        group_size = GROUP_OF_4_BITS if group_size is None else group_size
        checks.choice("group_size", group_size, GROUP_SIZES)
        return cls(bits, granularity, group_size, **more)

    def words(self) -> str:
        """For a reason that names it."""
        return f"{self.granularity}, {self.bits} bits{', x_bits=16' if self.x_bits == 16 else ''}{self.treatment()}"

    def treatment(self) -> str:
        """What is done to x and to the weight beforehand, as it goes on in a line."""
        given = {"rotate": self.rotate, "smooth": self.smooth, "outliers": self.outliers, "gptq": self.gptq}
        told = (name if value is True else f"{name}={value}" for name, value in given.items() if value)
        return "".join(f", {each}" for each in told)

    @property
    def needs_data(self) -> bool:
        return bool(self.smooth is not None or self.outliers or self.gptq)

    def arguments(self) -> dict[str, Any]:
        """As `dq.pack_linear` takes it."""
        form = {"bits": self.bits, "granularity": self.granularity, "group_size": self.group_size}
        return form | {"x_bits": self.x_bits}


def _treatment(rotate: Any, smooth: Any, outliers: Any, gptq: Any) -> dict[str, Any]:
    """Checked; smooth is None where there is none."""
    if not isinstance(rotate, bool):
        checks.choice("rotate", rotate, BLOCKS)
    alpha = None if smooth is False else 0.5 if smooth is True else checks.number("smooth", smooth)
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"smooth must be true or from 0 to 1; got {smooth}")
    if isinstance(outliers, bool) or not isinstance(outliers, int) or not 0 <= outliers <= MOST_OUTLIERS:
        raise ValueError(f"outliers must be an integer from 0 to {MOST_OUTLIERS}; got {outliers!r}")
    if not isinstance(gptq, bool):
        raise TypeError(f"gptq must be true or false; got {gptq!r}")
    if rotate and outliers:
        raise ValueError(f"outliers goes without rotate, which spreads every column; got rotate={rotate}")
    block = 0 if rotate is False else max(BLOCKS) if rotate is True else rotate
    return {"rotate": block, "smooth": alpha, "outliers": outliers, "gptq": gptq}


@dataclass(frozen=True)
class Rule:
    """One rule; `reason` is what the receipt says of a layer that it leaves in float32."""

    scheme: Scheme
    match: str = ""
    ops: tuple[str, ...] = ()
    reason: str = "a rule of the recipe says so"

    def __str__(self) -> str:
        return f"{self.match!r} {'/'.join(self.ops)}".rstrip()

    def matches(self, op_type: str, names: Iterable[str]) -> bool:
        return (not self.ops or op_type in self.ops) and _found(self.match, names)


def _found(match: str, names: Iterable[str]) -> bool:
    return any(re.search(match, name) for name in names)


class Given(NamedTuple):
    """What a recipe says."""

    rules: list[Rule]
    #: Bits of the products of attention, if it says so.
    attention: int | None = None


def read_recipe(source: str | PathLike[str] | Mapping[str, Any] | None, operators: Sequence[str]) -> Given:
    """What a TOML file says, or a mapping like one. `operators` are those that a rule may name.

    Raises
    ------
    ValueError
        Naming the file, the rule and what is allowed.
    """
    if source is None:
        return Given([])
    if not isinstance(source, (str, os.PathLike, Mapping)):
        raise TypeError(f"recipe must be the path of a TOML file or a mapping; got {checks.describe(source)}")
    if isinstance(source, Mapping):
        given, name = source, "recipe"
    else:
        name = f"recipe {source}"
        try:
            given = tomllib.loads(Path(source).read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{name}: {error}") from error
    if set(given) - {"rule", "attention"} or not isinstance(given.get("rule", []), list):
        raise ValueError(f"{name}: holds attention and [[rule]] tables only; got {_keys(given)}")
    attention = given.get("attention")
    if attention not in (None, *ATTENTION_BITS):
        raise ValueError(f"{name}: attention must be 8 or 32; got {checks.describe(attention)}")
    rules = [_rule(f"{name}, rule {i}", each, operators) for i, each in enumerate(given.get("rule", []), 1)]
    return Given(rules, attention)


def _keys(given: Mapping[str, Any]) -> str:
    return "[rule], one table" if isinstance(given.get("rule"), Mapping) else ", ".join(sorted(given))


def _rule(where: str, given: Any, operators: Sequence[str]) -> Rule:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: must be a table; got {given!r}")
    if unknown := sorted(set(given) - set(_KEYS)):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; a rule has {', '.join(_KEYS)}")
    ops = given.get("op", [])
    ops = (ops,) if isinstance(ops, str) else ops
    try:
        if not isinstance(ops, Sequence) or any(op not in operators for op in ops):
            raise ValueError(f"op must be one or a list of {', '.join(operators)}; got {given['op']!r}")
        scheme = Scheme.of(**{key: given[key] for key in _FORM if key in given})
        reason = given.get("reason", Rule.reason)
        if not isinstance(reason, str):
            raise TypeError(f"reason must be a text; got {checks.describe(reason)}")
        return Rule(scheme, pattern("match", given.get("match", "")), tuple(ops), reason)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def pattern(name: str, text: Any) -> str:
    """A regular expression that compiles."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a regular expression as str; got {checks.describe(text)}")
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{name} must be a regular expression; got {text!r}: {error}") from error
    return text


def patterns(name: str, given: str | Sequence[str] | None) -> list[str]:
    """One regular expression or several."""
    if given is None:
        return []
    return [pattern(name, each) for each in ([given] if isinstance(given, str) else given)]


NOT_INCLUDED = Rule(Scheme.of(FLOAT), reason="not included")


class Recipe:
    """Rules in order, and which of them have matched.

    Parameters
    ----------
    rules : sequence of Rule
    default : sequence of Rule
        For what no rule matches; the last one matches everything.
    include : sequence of str
        Where there are any, layers that match none of them stay float32, whatever the rules say.
    """

    def __init__(self, rules: Sequence[Rule], default: Sequence[Rule], include: Sequence[str] = ()):
        self.rules, self.include, self._default = list(rules), list(include), list(default)
        self._idle: set[object] = {*self.rules, *self.include}
        #: Of rules that match layers, but have not been the first one yet: the rules before them.
        self._hidden: dict[Rule, list[Rule]] = {}
        self._used: set[Rule] = set()

    def rule_for(self, op_type: str, names: Sequence[str]) -> Rule:
        """The first rule that matches. Later ones count as used, too, where they would have matched."""
        matching = [rule for rule in self.rules if rule.matches(op_type, names)]
        included = [match for match in self.include if _found(match, names)]
        self._idle -= {*matching, *included}
        if self.include and not included:
            return NOT_INCLUDED
        self._used |= set(matching[:1])
        for rule in matching[1:]:
            self._hidden.setdefault(rule, []).append(matching[0])
        return next(iter([*matching, *(rule for rule in self._default if rule.matches(op_type, names))]))

    def check_used(self, layers: Sequence[str]) -> None:
        """Raise ValueError where a rule, or a pattern of `include`, matched none of the layers."""
        for idle in [*self.rules, *self.include]:
            if idle in self._idle:
                what = f"rule {idle}" if isinstance(idle, Rule) else f"include {idle!r}"
                some = ", ".join(layers[:5]) + (", …" if len(layers) > 5 else "")
                raise ValueError(f"{what} matches no layer; layers are {some or 'none'}")

    def notes(self) -> list[str]:
        """Of rules that never were the first that matches."""
        return [
            f"rule {rule} decides nothing: {', '.join(dict.fromkeys(map(str, before)))} before it matches first"
            for rule, before in self._hidden.items() if rule not in self._used
        ]  # fmt: skip
