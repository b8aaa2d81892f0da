"""compare: runs a model and a candidate on the same feeds, and looks at each layer that differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..arguments import checks
from ..onnx import InferenceSession, files
from ..onnx.options import thread_count
from .comparison import LOOKS, Comparison
from .data import BATCH, Data, Source, read_data
from .fidelity import Tally
from .looks import Looks
from .machine import machine

#: Called with what is done, how much there is, and the name of what comes next.
Progress = Callable[[int, int, str], None]


def compare(
    reference: Any,
    candidate: Any,
    feeds: Source | Data = None,
    *,
    layers: bool | Sequence[str] = True,
    logits: bool = False,
    threshold: float | None = None,
    batch: int = BATCH,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Say how far a candidate's results are from those of the float model, and which layers bring them there.

    Parameters
    ----------
    reference, candidate : path, bytes, onnx.ModelProto or onnx_ir.Model
        The float model, and one with the same inputs and outputs: an artifact of `quantize`, one of another tool, or
        any other model. Outputs are matched by name, or by place where names differ.
    feeds : path, mapping of arrays, iterable of mappings, or None
        A .npz or .parquet file, a folder of .npy or .npz files, an array for each input, or mappings of these for each
        run (dynq_numba/evaluate/data.py says what rows are). None for a synthetic probe, which says little.
    layers : bool, or sequence of {"own", "only_quantized", "only_float"}
        Which looks to take at each layer that differs; False for none. Own: its result on its float inputs. Only
        quantized: the model with this layer alone as the candidate has it. Only float: the candidate with this layer
        alone in float. Layers are looked at in one pass over the feeds; no more is kept than a run needs.
    logits : bool
        Whether outputs are logits, of which KL compares the softmax.
    threshold : float, optional
        Whose sides values are compared for; 0.5 by default where all are between 0 and 1.
    batch : int
        The most rows of a run, where rows of the data can be put together.
    seed : int
        Of a synthetic probe.
    threads : int, optional
        The most threads.
    progress : callable, optional
        Called as ``progress(done, all, name)``.

    Returns
    -------
    Comparison
        Prints as tables; `Comparison.to_json` has all of it.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what it was and what is allowed.
    OSError
        From reading.

    Notes
    -----
    Both run in our sessions. Sources: SQNR, cosine and KL as dynq_numba/evaluate/fidelity.py has them.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from onnx import helper, numpy_helper
    >>> import dynq_numba as dq
    >>> rng = np.random.default_rng(0)
    >>> weight = numpy_helper.from_array(rng.standard_normal((64, 64)).astype(np.float32), "weight")
    >>> value = lambda name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", 64])
    >>> node = helper.make_node("MatMul", ["x", "weight"], ["y"], "layer")
    >>> model = helper.make_model(helper.make_graph([node], "one", [value("x")], [value("y")], [weight]))
    >>> found = dq.onnx.compare(model, dq.onnx.quantize(model).model, layers=False)
    >>> 1e-6 < found.loss < 1e-3, found.synthetic
    (True, True)
    """
    looks = _looks(layers)
    named = ("reference", reference), ("candidate", candidate)
    pair = [InferenceSession(files.read(model, name), threads=threads) for name, model in named]
    matched = outputs_of(*pair)
    data = feeds if isinstance(feeds, Data) else read_data(
        feeds, pair[0].get_inputs(), model=files.read(reference), batch=batch, seed=seed
    )  # fmt: skip
    def tally(name: str) -> Tally:
        return Tally(name, logits=logits, threshold=threshold)

    names = [""] * len(matched)
    for name, place in matched:
        names[place] = name
    found = Looks(reference, candidate, names, looks, tally, thread_count(threads, None)) if looks else None
    tallies = [tally(name) for name, _ in matched]
    rows = batches = 0
    begun = time.perf_counter()
    for each in data:
        if progress is not None:
            progress(rows, data.rows or 0, "outputs")
        if found is None:
            want, theirs = (session.run(None, each.feeds) for session in pair)
            got = [theirs[place] for _, place in matched]
        else:
            say = None if progress is None else partial(progress, rows, data.rows or 0)
            want, got = found.update(each.feeds, say)
        for one, a, b in zip(tallies, want, got, strict=True):
            one.update(np.asarray(a), np.asarray(b))
        rows, batches = rows + each.rows, batches + 1
    if not batches:
        raise ValueError(f"feeds must have rows; {data.description} has none")
    seconds = {"outputs": time.perf_counter() - begun} if found is None else found.seconds
    first, second = (files.called(model, name) for name, model in named)
    own, other = (files.digest(model) for _, model in named)
    made = [] if found is None else [layer.result() for layer in found.layers.values()]
    return Comparison(
        first, second, own, other, data.description, data.synthetic, data.seed, rows, batches,
        [each.result() for each in tallies], made, looks if made else (), [] if found is None else found.notes,
        machine(threads), seconds,
    )  # fmt: skip


def outputs_of(reference: InferenceSession, candidate: InferenceSession) -> list[tuple[str, int]]:
    """The outputs of the reference, and which output of the candidate each is.

    Raises
    ------
    ValueError
        Where inputs or outputs are others.
    """
    inputs = [sorted(each.name for each in session.get_inputs()) for session in (reference, candidate)]
    if inputs[0] != inputs[1]:
        raise ValueError(f"candidate must have the inputs {', '.join(inputs[0])}; got {', '.join(inputs[1])}")
    want, got = ([each.name for each in session.get_outputs()] for session in (reference, candidate))
    if len(want) != len(got):
        raise ValueError(f"candidate must have the outputs {', '.join(want)}; got {', '.join(got)}")
    same = set(want) == set(got)
    return [(name, got.index(name) if same else i) for i, name in enumerate(want)]


def _looks(given: bool | Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, bool):
        return LOOKS if given else ()
    if isinstance(given, str):
        given = [given]
    for each in given:
        checks.choice("layers", each, LOOKS)
    return tuple(look for look in LOOKS if look in given)
