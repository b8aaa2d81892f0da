"""The receipt: what happened to every weight of a model. Nothing is left out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ..tables import WIDTH, folded, markdown, table


@dataclass(frozen=True)
class Entry:
    """One weight.

    Attributes
    ----------
    weight, node, op_type : str
        Names as in the model, and the operator that takes it.
    shape : tuple of int
    bytes_before, bytes_after : int
        As stored, scales and sums included; 0 after for a weight that is stored with another.
    scheme : str
        Such as "int8_per_channel", or "float32".
    reason : str
        Why it stays in floats, or what it is stored with.
    error : float or None
        Norm of the difference to the float layer over the norm of its results, on inputs drawn from a fixed seed.
    exact : bool or None
        Whether other runtimes get the bits of our kernel from the artifact, on the same inputs; None for floats.
    """

    weight: str
    node: str
    op_type: str
    shape: tuple[int, ...]
    bytes_before: int
    bytes_after: int
    scheme: str = "float32"
    reason: str = ""
    error: float | None = None
    exact: bool | None = None

    @property
    def quantized(self) -> bool:
        return self.exact is not None


@dataclass
class Receipt:
    """All weights in the order of the graph, and where the artifact comes from.

    Attributes
    ----------
    entries : list of Entry
    source_sha256 : str
        Of the model file, or of the model as it was serialised.
    recipe : dict
        The rules and the default, as they were used.
    notes : list of str
        What was put right in the model itself, and what is doubtful in it.
    format : str
        How layers are written: "dynq", "qdq" …
    attention : int or None
        Bits of the products of attention in our session, 8 or 32; None where the model has no attention.
    source_bytes, artifact_bytes : int or None
        Of the model file and of the artifact, with files of weights beside them; None where there is no file. The
        second is not part of what is written or compared.
    model : onnx_ir.Model or None
        The artifact; not part of what is written or compared.
    """

    entries: list[Entry] = field(default_factory=list)
    source_sha256: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    format: str = "dynq"
    attention: int | None = None
    source_bytes: int | None = None
    artifact_bytes: int | None = field(default=None, compare=False)
    model: Any = field(default=None, repr=False, compare=False)

    @property
    def quantized(self) -> list[Entry]:
        """The weights that are integers now."""
        return [entry for entry in self.entries if entry.quantized]

    @property
    def kept(self) -> list[Entry]:
        """The weights that are still floats."""
        return [entry for entry in self.entries if not entry.quantized]

    @property
    def bytes_before(self) -> int:
        return sum(entry.bytes_before for entry in self.entries)

    @property
    def bytes_after(self) -> int:
        return sum(entry.bytes_after for entry in self.entries)

    @property
    def coverage(self) -> float:
        """Which part of the bytes of weights is quantized, from 0 to 1; 1 where there are no weights."""
        whole = self.bytes_before
        return sum(entry.bytes_before for entry in self.quantized) / whole if whole else 1.0

    @property
    def inexact(self) -> list[str]:
        """What other runtimes compute with other bits than our session: weights, and "attention" of 8 bits."""
        weights = [entry.weight for entry in self.quantized if not entry.exact]
        return weights + ["attention"] * (self.attention == 8)

    @property
    def exact(self) -> bool:
        """Whether other runtimes get our bits from all that is quantized."""
        return not self.inexact

    def summary(self) -> str:
        """One line."""
        parts = [
            f"{len(self.quantized)} of {len(self.entries)} weights quantized, {self.coverage:.1%} of their bytes",
            f"weights {_size(self.bytes_before)} -> {_size(self.bytes_after)}",
        ]
        if self.source_bytes is not None and self.artifact_bytes is not None:
            parts[1] += f", file {_size(self.source_bytes)} -> {_size(self.artifact_bytes)}"
        if self.quantized:
            some = ", ".join(self.inexact[:3]) + (", …" if len(self.inexact) > 3 else "")
            parts.append(f"exact: {'yes' if self.exact else f'no ({some})'}")
        return "; ".join(parts)

    def to_json(self) -> str:
        """All of it; the same model and recipe give the same text."""
        whole = {
            "entries": [asdict(entry) for entry in self.entries], "source_sha256": self.source_sha256,
            "recipe": self.recipe, "notes": self.notes, "format": self.format, "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after, "coverage": self.coverage, "attention": self.attention,
            "source_bytes": self.source_bytes, "exact": self.exact,
        }  # fmt: skip
        return json.dumps(whole, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """What `to_json` gave; ValueError for any other text."""
        try:
            given = json.loads(text)
            entries = [Entry(**(each | {"shape": tuple(each["shape"])})) for each in given["entries"]]
            more = given.get("format", "dynq"), given.get("attention"), given.get("source_bytes")
            return cls(entries, given["source_sha256"], given["recipe"], given["notes"], *more)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"the receipt is damaged: {error!r}") from error

    def to_markdown(self) -> str:
        """A table, and what was noted."""
        rows = markdown(_HEAD, list(map(_row, self.entries)), _ALIGN)
        return "\n".join([self.summary(), "", rows, *("" for _ in self.notes[:1]), *self.notes]) + "\n"

    def __str__(self) -> str:
        notes = [line for note in self.notes for line in folded(note, WIDTH)]
        rows = table(_HEAD, list(map(_row, self.entries)), _ALIGN, spare=("exact", "shape", "operator"))
        return "\n".join([rows, "", *folded(self.summary()), *notes])


_HEAD = ("weight", "operator", "shape", "scheme", "exact", "why", "bytes", "after", "error")
_ALIGN = "LllLlLrrr"


def _row(entry: Entry) -> tuple[str, ...]:
    exact = {None: "", True: "yes", False: "no"}[entry.exact]
    return (
        entry.weight, entry.op_type, "x".join(map(str, entry.shape)), entry.scheme, exact, entry.reason,
        f"{entry.bytes_before:,}", f"{entry.bytes_after:,}", "" if entry.error is None else f"{entry.error:.2%}",
    )  # fmt: skip


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
