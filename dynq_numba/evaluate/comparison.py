"""compare: what a candidate's results are, beside those of the float model; of the whole, and layer by layer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import tables
from ..files.plain import plain
from .fidelity import Fidelity

#: What `Comparison.looks` may be asked for.
LOOKS = ("own", "only_quantized", "only_float")


@dataclass(frozen=True)
class LayerLooks:
    """A layer, and what its integers cost.

    Attributes
    ----------
    layer : str
        The name of its node, as in the receipt; of several that cannot be told apart, all with commas between.
    weights : tuple of str
        Names as in the receipt.
    op_type : str
        Of the float model.
    scheme : str
        As in the receipt; "" where there is none.
    own : Fidelity or None
        Its result, before what is fused behind it, on its float inputs.
    only_quantized : list of Fidelity
        Of each output of the model where only this layer is the candidate's.
    only_float : list of Fidelity
        Of each output of the model where only this layer is the reference's.
    """

    layer: str
    weights: tuple[str, ...]
    op_type: str
    scheme: str
    own: Fidelity | None = None
    only_quantized: list[Fidelity] = field(default_factory=list)
    only_float: list[Fidelity] = field(default_factory=list)

    @property
    def loss_alone(self) -> float | None:
        """1 - mean cosine of the worst output where only this layer is quantized."""
        return max((each.loss for each in self.only_quantized), default=None)

    @property
    def loss_without(self) -> float | None:
        """1 - mean cosine of the worst output where only this layer is float."""
        return max((each.loss for each in self.only_float), default=None)


@dataclass
class Comparison:
    """What the candidate's results are, beside the reference's.

    Attributes
    ----------
    reference, candidate : str
        Names of the files, or what else they were.
    reference_sha256, candidate_sha256 : str
    data : str
        Where the feeds come from.
    synthetic : bool
        Whether they are random numbers, which say little of real data.
    seed : int or None
        What synthetic feeds were drawn from.
    rows, batches : int
        How many were run.
    outputs : list of Fidelity
    layers : list of LayerLooks
        In the order of the graph; empty where layers were not asked for or could not be matched.
    looks : tuple of str
        Of LOOKS, those that were taken.
    notes : list of str
        What a reader should know: why layers could not be matched, and so on.
    machine : dict of str to str
        Processor, instruction set, threads, versions.
    seconds : dict of str to float
        Of the runs ("outputs") and of each look.
    """

    reference: str
    candidate: str
    reference_sha256: str
    candidate_sha256: str
    data: str
    synthetic: bool
    seed: int | None
    rows: int
    batches: int
    outputs: list[Fidelity]
    layers: list[LayerLooks] = field(default_factory=list)
    looks: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """1 - mean cosine of the worst output."""
        return max(each.loss for each in self.outputs)

    def worst(self, look: str = "only_quantized") -> list[LayerLooks]:
        """Layers, the most harmful first.

        Parameters
        ----------
        look : {"own", "only_quantized", "only_float"}
            By which: the least SQNR of their own; the most loss where only they are quantized; the least loss where
            only they are float.
        """
        if look not in LOOKS:
            raise ValueError(f"look must be of {', '.join(LOOKS)}; got {look!r}")
        if look not in self.looks:
            raise ValueError(f"look must be one that was taken: {', '.join(self.looks) or 'none'}; got {look!r}")
        return sorted(self.layers, key=_HARM[look])

    def to_json(self) -> str:
        """All of it, as text.

        Keys are the attributes of `Comparison`; objects of "outputs", "own", "only_quantized" and "only_float" have
        those of `Fidelity`, with "loss" beside them; objects of "layers" those of `LayerLooks`, with "loss_alone" and
        "loss_without". Numbers that JSON does not have are null: `sqnr_db` where "identical" is true, or where
        "not_finite" says why. No value of any row is in it::

            {"kind": "comparison", "version": 1, "reference": "float.onnx", "candidate": "int8.onnx",
             "reference_sha256": "…", "candidate_sha256": "…", "data": "probe.npz", "synthetic": false, "seed": null,
             "rows": 64, "batches": 64, "loss": 0.0012, "looks": ["own", "only_quantized", "only_float"],
             "outputs": [{"name": "y", "values": 24576, "rows": 64, "identical": false, "sqnr_db": 26.3,
                          "cosine_mean": 0.9988, "cosine_worst": 0.997, "worst_row": 17, "loss": 0.0012,
                          "max_abs_error": 0.02, "p99_abs_error": 0.01, "mismatches": 24576, "not_finite": 0,
                          "kl_mean": null, "kl_max": null, "decisions": 64, "argmax_flips": 0.03,
                          "ranking_flips": 0.1, "threshold_flips": null, "threshold": null}],
             "layers": [{"layer": "/encoder/0/MatMul", "weights": ["encoder.0.weight"], "op_type": "MatMul",
                         "scheme": "int8_per_channel", "own": {…} or null, "only_quantized": [{…}],
                         "only_float": [{…}], "loss_alone": 1e-4, "loss_without": 1e-3}],
             "notes": ["…"], "machine": {"processor": "…", "isa": "…"}, "seconds": {"outputs": 1.2, "own": 3.4}}
        """
        return json.dumps(plain(self.as_dict()), indent=1, allow_nan=False)

    def as_dict(self) -> dict[str, Any]:
        """What `to_json` writes, with numbers as they are."""
        return {
            "kind": "comparison", "version": 1, **asdict(self), "loss": self.loss,
            "outputs": list(map(_fidelity, self.outputs)), "layers": list(map(_layer, self.layers)),
        }  # fmt: skip

    def summary(self) -> str:
        """One line."""
        if all(each.identical for each in self.outputs):
            return f"{self.rows} rows: all results are identical"
        worst = max(self.outputs, key=lambda each: each.loss)
        flips = "" if worst.argmax_flips is None else f", {worst.argmax_flips:.2%} of largest values elsewhere"
        return (
            f"{self.rows} rows: loss {worst.loss:.2e} (1 - cosine), {_db(worst)}, largest error "
            f"{worst.max_abs_error:.3g}{flips} in {worst.name}"
        )

    def table(self) -> str:
        """For a terminal."""
        parts = [_columns(_OUTPUTS, map(_output_row, self.outputs), _SPARE)]
        if self.layers:
            parts.append(_columns(_LAYERS, map(_layer_row, self.layers), _SPARE))
        lines = [self.summary(), *self._remarks()]
        parts.append("\n".join(part for line in lines for part in tables.folded(line)))
        return "\n\n".join(parts)

    def to_markdown(self) -> str:
        """Tables, and what was noted."""
        parts = [self.summary(), tables.markdown(_OUTPUTS, list(map(_output_row, self.outputs)), _align(_OUTPUTS))]
        if self.layers:
            parts.append(tables.markdown(_LAYERS, list(map(_layer_row, self.layers)), _align(_LAYERS)))
        return "\n\n".join([*parts, *self._remarks()]) + "\n"

    def _remarks(self) -> list[str]:
        return [*([f"data: {self.data}"]), *self.notes]

    __str__ = table


#: What each look sorts layers by: the most harmful have the least.
_HARM: dict[str, Callable[[LayerLooks], float]] = {
    "own": lambda each: math.inf if each.own is None else each.own.sqnr_db,
    "only_quantized": lambda each: -(each.loss_alone or 0.0),
    "only_float": lambda each: math.inf if each.loss_without is None else each.loss_without,
}
_OUTPUTS = ("output", "loss", "worst", "SQNR", "max error", "p99 error", "KL", "argmax", "ranking", "threshold")
#: What goes first where a terminal is narrow.
_SPARE = ("threshold", "ranking", "p99 error", "KL", "own loss")
_LAYERS = ("layer", "scheme", "own SQNR", "own loss", "alone", "all but it")


def _fidelity(each: Fidelity) -> dict[str, Any]:
    return asdict(each) | {"loss": each.loss}


def _layer(each: LayerLooks) -> dict[str, Any]:
    return asdict(each) | {
        "own": None if each.own is None else _fidelity(each.own), "loss_alone": each.loss_alone,
        "only_quantized": list(map(_fidelity, each.only_quantized)), "loss_without": each.loss_without,
        "only_float": list(map(_fidelity, each.only_float)),
    }  # fmt: skip


def _output_row(each: Fidelity) -> tuple[str, ...]:
    share = ["" if part is None else f"{part:.2%}" for part in
             (each.argmax_flips, each.ranking_flips, each.threshold_flips)]  # fmt: skip
    kl = "" if each.kl_mean is None else f"{each.kl_mean:.1e}"
    return (
        each.name, f"{each.loss:.1e}", f"{1 - each.cosine_worst:.1e}", _db(each), f"{each.max_abs_error:.2e}",
        f"{each.p99_abs_error:.2e}", kl, *share,
    )  # fmt: skip


def _layer_row(each: LayerLooks) -> tuple[str, ...]:
    own = ("", "") if each.own is None else (_db(each.own), f"{each.own.loss:.1e}")
    losses = ["" if loss is None else f"{loss:.1e}" for loss in (each.loss_alone, each.loss_without)]
    return (each.layer, each.scheme, *own, *losses)


def _db(each: Fidelity) -> str:
    if math.isfinite(each.sqnr_db) or not each.values:
        return f"{each.sqnr_db:.1f} dB" if each.values else "empty"
    if each.sqnr_db > 0:
        return "identical" if each.identical else "inf dB"
    return "not finite" if each.not_finite else "no signal"


def _align(head: Sequence[str]) -> str:
    """Names, then numbers."""
    return "L" + "r" * (len(head) - 1)


def _columns(head: Sequence[str], rows: Iterable[tuple[str, ...]], spare: Sequence[str] = ()) -> str:
    """For a terminal, without columns that are empty everywhere."""
    lines = list(rows)
    kept = [i for i in range(len(head)) if i == 0 or any(line[i] for line in lines)]
    names = [head[i] for i in kept]
    cells = [[line[i] for i in kept] for line in lines]
    return tables.table(names, cells, _align(names), spare=[name for name in spare if name in names])
