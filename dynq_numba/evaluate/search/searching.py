"""search: from a float model and data to the cheapest recipe within budgets."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...arguments import checks
from ...files.whole import write_text
from ...graph.canonical import canonical
from ...graph.names import nodes
from ...onnx import InferenceSession, files, quantize
from ..batches import Batch
from ..comparing import compare
from ..data import Data, Source, read_data
from .choose import Budget, Table, choose
from .layers import Unit, as_toml, recipe_of, units_of
from .measure import Bench, Metric, metric_of, times
from .record import SearchRecord, read_record
from .rungs import FLOAT, INT8, RUNGS

#: Called with what is done, how much there is, and what comes next.
Progress = Callable[[int, int, str], None]
#: Rows of a batch; batches of the first phase are so many, or a quarter.
BATCH, SUBSET = 16, 2
#: Mixes that are measured, at the most, in the first phase.
ROUNDS = 6
#: A loss that counts as none.
_NOTHING = 1e-12


def search(
    model: Any,
    data: Source = None,
    out: str | PathLike[str] | None = None,
    *,
    metric: str | Metric | None = None,
    max_degradation: float | None = None,
    max_size: float | None = None,
    max_latency: float | None = None,
    only_if_faster: bool = False,
    batch: int = BATCH,
    seed: int = 0,
    threads: int | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> SearchRecord:
    """Find the cheapest mix of schemes for the linears of a model within every budget.

    Each linear is tried at every rung on its own float inputs. What its error costs the model is measured once, with
    only this layer in int8, and grows with the square. From these tables a mix is chosen, quantized, measured on some
    batches, and chosen anew with what was learnt; the best is measured on all.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or onnx_ir.Model
        The float model.
    data
        Typical inputs as `compare` takes them: smoothing, outliers and gptq learn from them, and losses are on them.
    out : path, optional
        Where the recipe goes, a TOML file. What was found out is written beside it after each step, as OUT.search.json;
        the same search goes on from there, also with other limits, and `dynq explain` reads it.
    metric : str or callable, optional
        "package.module:function", called with the outputs by name and the columns of the data that are no inputs; more
        is better. By default the loss is 1 - mean cosine of the outputs to float.
    max_degradation : float, optional
        The most that the metric may fall, or the loss may be. Without it the mix of the least loss is found.
    max_size : float, optional
        Bytes of the artifact.
    max_latency : float, optional
        Milliseconds of a run on the first batch, on this machine.
    only_if_faster : bool
        Linears that are no faster in int8 on this machine stay float32.
    batch : int
        Rows of a run.
    seed : int
        Of the batches of the first phase.
    threads : int, optional
        The most threads.
    resume : bool
        False: begin anew.
    progress : callable, optional
        Called as ``progress(done, steps, name)``.

    Returns
    -------
    SearchRecord
        Prints as a table of what was measured; `found` says whether a mix is within the budgets.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what it was and what is allowed.

    Notes
    -----
    The same model, data, options and seed give the same recipe, byte for byte, unless times decide (`max_latency`,
    `only_if_faster`). Sources: Lagrange multipliers for bit allocation: Shoham and Gersho (1988).
    """
    limits = {"max_degradation": max_degradation, "max_size": max_size, "max_latency": max_latency}
    for name, limit in limits.items():
        if limit is not None and not checks.number(name, limit) > 0:
            raise ValueError(f"{name} must be above 0; got {limit}")
    function = metric_of(metric) if isinstance(metric, str) else metric
    path = None if out is None else Path(out)
    if path is not None:
        files.check_place(path)
    session = InferenceSession(model, threads=threads)
    found = read_data(data, session.get_inputs(), model=files.read(model), batch=batch, seed=seed)
    batches = list(found)
    if not batches:
        raise ValueError(f"data must have rows; {found.description} has none")
    named = metric if isinstance(metric, str) else getattr(metric, "__qualname__", None)
    key = {
        "model": files.digest(files.read(model)), "data": _digest(batches), "metric": named, "seed": seed,
        "batch": batch, "metric source": _source(function), "version": __version__,
        "rungs": {name: list(map(repr, rung)) for name, rung in RUNGS.items()},
    }  # fmt: skip
    state = None if path is None else path.with_name(f"{path.name}.search.json")
    record = SearchRecord(key)
    if state is not None and resume and state.exists():
        before = read_record(state)
        record = before if before.key == key else record
    asked = limits | {"only_if_faster": only_if_faster}
    if record.limits != asked:  # what was chosen before was for others
        record.limits, record.chosen, record.result, record.recipe = asked, {}, {}, ""
    bench = Bench(model, batches, function, threads, "" if path is None else str(path.parent))
    run = _Search(bench, record, state, found, seed, progress)
    run.tables()
    if only_if_faster:
        run.compare_times()
    run.mixes(max_degradation, max_size, max_latency)
    if path is not None and record.recipe:
        write_text(path, record.recipe)
    return record


def _digest(batches: list[Batch]) -> str:
    digest = hashlib.sha256()
    for batch in batches:
        for name, array in sorted({**batch.feeds, **batch.columns}.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            plain = array.dtype != object
            digest.update(np.ascontiguousarray(array).tobytes() if plain else repr(array.tolist()).encode())
    return digest.hexdigest()


def _source(function: Metric | None) -> str:
    """A digest of a metric's text, where there is one: with another one, what was measured counts no more."""
    try:
        return "" if function is None else hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


class _Search:
    def __init__(
        self, bench: Bench, record: SearchRecord, state: Path | None, data: Data, seed: int, progress: Progress | None
    ) -> None:
        self.bench, self.record, self.state, self.progress = bench, record, state, progress
        model, _ = canonical(files.read(bench.model).clone(), "model")
        self.units = units_of(model)
        if not self.units:
            raise ValueError("model has no linears to choose for: no MatMul or Gemm with a constant weight")
        self.names = list(RUNGS)
        count = len(bench.batches)
        some = min(count, max(SUBSET, count // 4))
        self.subset = sorted(np.random.default_rng(seed).permutation(count)[:some].tolist())
        self.reasons: dict[str, str] = {}
        self.done, self.begun = 0, time.monotonic()
        self.steps = len(RUNGS) + 1 + ROUNDS + 2
        if data.synthetic:
            record.notes = [f"data: {data.description}"]

    def say(self, what: str) -> None:
        """Where it is, and how long the rest takes."""
        if self.state is not None:
            self.record.write(self.state)
        if self.progress is not None:
            passed = time.monotonic() - self.begun
            left = f", about {passed / self.done * max(self.steps - self.done, 0):.0f} s left" if self.done else ""
            self.progress(self.done, self.steps, f"{what}{left}")
        self.done += 1

    # -- tables ---------------------------------------------------------------------------------
    def tables(self) -> None:
        record = self.record
        for name in self.names:
            if name not in record.receipts:
                self.say(f"every layer as {name}")
                receipt = self.bench.quantized({"rule": [{"op": ["MatMul", "Gemm"], **RUNGS[name].rule}]})
                record.receipts[name] = {
                    f"{each.node}|{each.weight}": {
                        "error": each.error, "bytes": each.bytes_after, "why": "" if each.quantized else each.reason,
                    }
                    for each in receipt.entries
                }  # fmt: skip
        if not record.looks:
            self.say("only one layer int8")
            receipt = self.bench.quantized({"attention": 32})
            feeds = [self.bench.batches[i].feeds for i in self.subset]
            found = compare(self.bench.model, receipt.model, feeds, layers=["only_quantized"])
            whole = [pair for unit in self.units for pair in unit.weights]
            for each in found.layers:
                own = {f"{node}|{weight}": self.error(INT8, node, weight) ** 2 for node, weight in whole
                       if weight in each.weights and (not node or f", {node}, " in f", {each.layer}, ")}  # fmt: skip
                for key, error in own.items():  # those that are looked at together have parts of what it costs
                    part = error / (sum(own.values()) or 1.0)
                    record.looks[key] = max(each.loss_alone or 0.0, _NOTHING) * part
        record.units = list(map(self.row, self.units))

    def error(self, rung: str, node: str, weight: str) -> float:
        return float(self.record.receipts[rung][f"{node}|{weight}"]["error"] or 0.0)

    def row(self, unit: Unit) -> dict[str, Any]:
        """Of the record: what each rung comes to."""
        receipts, rungs = self.record.receipts, {}
        slopes = {}
        for node, weight in unit.weights:
            key, error = f"{node}|{weight}", self.error(INT8, node, weight)
            slopes[key] = self.record.looks.get(key, _NOTHING) / max(error**2, _NOTHING)
        for name in self.names:
            entries = [(key, receipts[name][key]) for key in slopes]
            why = next((each["why"] for _, each in entries if each["why"]), "") if name != FLOAT else ""
            errors = [(key, 0.0 if name == FLOAT else each["error"] or 0.0) for key, each in entries]
            losses = [slopes[key] * error**2 for key, error in errors]
            rungs[name] = {
                "error": None if name == FLOAT or why else max(error for _, error in errors),
                "loss": None if why else sum(losses), "bytes": sum(each["bytes"] for _, each in entries),
                "work": RUNGS[name].work, "why": why,
            }  # fmt: skip
        return {
            "name": unit.name, "layers": list(unit.layers), "weights": [weight for _, weight in unit.weights],
            "values": unit.values, "sensitivity": max(slopes.values()), "rungs": rungs,
        }  # fmt: skip

    def compare_times(self) -> None:
        """Leave in float32 what int8 does not make faster here."""
        self.say("times of float32 and of int8")
        model = files.read(self.bench.model)
        for i, node in enumerate(nodes(model)):  # by its name a node is known in both
            node.name = node.name or f"dynq.{i}"
        units = units_of(canonical(model.clone(), "model")[0])
        names = {node for unit in units for node, _ in unit.weights}
        found = [times(each, self.bench.batches[0].feeds, names, self.bench.threads)
                 for each in (model, quantize(model).model)]  # fmt: skip
        for row, unit, called in zip(self.record.units, self.units, units, strict=True):
            own = [sum(each.get(node, 0.0) for node, _ in called.weights) for each in found]
            if not all(own):  # too fast for the clock, or in a branch that was not taken
                continue
            row["float_us"], row["int8_us"] = own
            if own[1] >= own[0]:
                reason = f"float32 is faster here: {own[0]:.0f} us, int8 {own[1]:.0f} us"
                self.reasons[unit.name] = reason
                for name, rung in row["rungs"].items():
                    if name != FLOAT:
                        rung["loss"], rung["why"] = None, reason

    # -- mixes ----------------------------------------------------------------------------------
    def table(self) -> Table:
        rows = self.record.units

        def part(key: str, none: float) -> np.ndarray:
            values = [[row["rungs"][name][key] for name in self.names] for row in rows]
            return np.array([[none if each is None else each for each in row] for row in values], np.float64)

        work = np.array([[RUNGS[name].work * row["values"] for name in self.names] for row in rows], np.float64)
        return Table(part("loss", np.inf), part("bytes", 0.0), work)

    def mixes(self, degradation: float | None, size: float | None, latency: float | None) -> None:
        """Choose, measure, learn; at the end on all data."""
        table, int8 = self.table(), self.names.index(INT8)
        plain = np.where(np.isfinite(table.loss[:, int8]), int8, self.names.index(FLOAT))
        base = self.measured("int8 everywhere", plain, self.subset, table)
        whole, everything = table.sums(plain), list(range(len(self.bench.batches)))
        self.measured("int8 everywhere", plain, everything, table)
        loss_limit = np.inf if degradation is None else degradation
        if degradation is not None and self.bench.metric is not None:  # of the metric: begin with int8's loss
            loss_limit = max(base["loss"], _NOTHING)
        room = np.inf if size is None else size - base["bytes"] + whole[1]
        work = np.inf if latency is None else whole[2] * max(latency / base["ms"], 0.1)
        best: dict[str, Any] | None = None
        for i in range(ROUNDS):
            mix = choose(table, Budget(loss_limit, room, work), int8)
            if mix is None:
                break
            point = self.measured(f"mix {i + 1}", mix, self.subset, table)
            within = self.within(point, degradation, size, latency)
            if within:
                point = self.measured(f"mix {i + 1}", mix, everything, table)
                within = self.within(point, degradation, size, latency)
            if within and (best is None or self.cost(point, whole, degradation) < self.cost(best, whole, degradation)):
                best = point
            if size is not None and point["bytes"] > size:
                room -= point["bytes"] - size
            elif latency is not None and point["ms"] > latency:
                work *= latency / point["ms"]
            elif degradation is not None and point["degradation"] > degradation:
                loss_limit *= min(0.75, 0.95 * degradation / point["degradation"])
            elif degradation is not None and point["degradation"] < 0.8 * degradation:
                loss_limit *= min(2.0, 0.95 * degradation / max(point["degradation"], _NOTHING))
            elif degradation is None and latency is not None and point["ms"] < 0.8 * latency:
                work *= min(2.0, 0.95 * latency / point["ms"])
            else:
                break
        self.finish(best)

    def within(self, point: Mapping[str, Any], degradation: float | None, size: float | None, ms: float | None) -> bool:
        limits = (("degradation", degradation), ("bytes", size), ("ms", ms))
        return all(limit is None or point[key] <= limit for key, limit in limits)

    def cost(self, point: Mapping[str, Any], whole: tuple[float, float, float], degradation: float | None) -> float:
        """What is made as small as possible: as `choose` does."""
        if degradation is None:
            return float(point["loss"])
        return float(point["predicted_bytes"] / (whole[1] or 1) + point["work"] / (whole[2] or 1))

    def measured(self, name: str, mix: np.ndarray, places: list[int], table: Table) -> dict[str, Any]:
        """A mix on these batches; what was measured before is taken from the record."""
        choice = {row["name"]: self.names[rung] for row, rung in zip(self.record.units, mix.tolist(), strict=True)}
        for point in self.record.points:
            if point["choice"] == choice and point["batches"] == places:
                return point
        self.say(f"{name} on {len(places)} of {len(self.bench.batches)} batches")
        result = self.bench.measure(recipe_of(choice, self.units, self.reasons), places)
        loss, size, work = table.sums(mix)
        point = {
            "name": name, "choice": choice, "batches": places, "all": len(places) == len(self.bench.batches),
            **result._asdict(), "predicted": loss, "predicted_bytes": size, "work": work,
        }  # fmt: skip
        self.record.points.append(point)
        return point

    def finish(self, best: dict[str, Any] | None) -> None:
        record = self.record
        record.notes = [note for note in record.notes if note.startswith("data:")]
        if best is None:
            record.chosen, record.result, record.recipe = {}, {}, ""
            record.notes.append("no mix within the budgets was found")
        else:
            record.chosen, record.result = best["choice"], best
            of = ", ".join(f"{name} {str(record.key[name])[:16]}" for name in ("model", "data", "seed"))
            head = f"Found by dynq search: {of}."
            record.recipe = as_toml(recipe_of(best["choice"], self.units, self.reasons), head)
        if self.state is not None:
            record.write(self.state)
