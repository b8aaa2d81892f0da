"""InferenceSession: runs a model, in ONNX Runtime's call shape."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, NoReturn, cast

import numpy as np

from ..arguments import checks
from ..arguments.errors import UnsupportedModelError
from ..graph.foreign import SEMANTICS
from ..planning.caches import begins_with, caches, has_gap
from ..planning.interpreted import Interpreted
from ..planning.lowering import KERNELS
from ..planning.plan import Plan
from ..planning.report import Report, report_of, timed_report
from ..planning.runnable import runnable
from ..planning.supported import missing
from ..runtime.backend import choose
from ..runtime.compiling import watch
from . import files
from .feeds import Feeds, argument
from .feeds import NodeArg as NodeArg
from .options import CPU, cache_of, check_providers, thread_count

watch()


class ModelMeta(NamedTuple):
    """What a model says of itself, with ONNX Runtime's names.

    Attributes
    ----------
    producer_name, graph_name, domain, description : str
    version : int
    custom_metadata_map : dict of str to str
    """

    producer_name: str
    graph_name: str
    domain: str
    description: str
    version: int
    custom_metadata_map: dict[str, str]


class InferenceSession:
    """Runs an ONNX model: float32, quantized by `quantize`, or a mixture. ONNX Runtime's call shape.

    The model is planned when it first runs, and again only where a run differs in more than lengths: another rank, a
    length that becomes 1, another branch. A session may be used from many threads at the same time; they share weights
    and plans.

    Parameters
    ----------
    path_or_bytes : path, bytes, onnx.ModelProto or onnx_ir.Model
        The model; opset 9 or newer.
    threads : int, optional
        The most threads a run uses, the calling one included. By default as many as pay for the work.
    sess_options : SessionOptions, optional
        Ours or onnxruntime's. Of these, `intra_op_num_threads` counts where `threads` is not given. They may stand in
        the place of `threads`.
    providers : sequence, optional
        For code written for ONNX Runtime: must have "CPUExecutionProvider".
    semantics : {"rowwise", "file"}
        Of models that another tool quantized. "rowwise": our kernels compute with the integers of the file, and
        quantize each row of the activations by itself, whatever the file does with these; `report` says where that
        differs. "file": all is computed as it is written.
    weight_cache : path, optional
        A folder for packed weights, for several processes that run one model: they share the pages of what lies there,
        and only the first one packs. It is made when there is something to write, and takes as much disk as packed
        weights take memory. Nothing is ever removed from it; you may empty it at any time. It should be on a local
        disk. By default each process packs into memory of its own, which large pages make a little faster to read;
        processes that were forked after the first run share that, too.

    Raises
    ------
    TypeError, ValueError
        Where it is no valid model. Where it has operators that nothing here computes: one error, which is an
        UnsupportedModelError, lists all of them.
    OSError
        From reading the file.

    Notes
    -----
    Steps that run our kernels give the same bits for every batch, padding, number of threads and instruction set;
    `report` says which do. Operators without a kernel are computed by onnx.reference, slowly.

    Examples
    --------
    >>> import numpy as np
    >>> from onnx import parser
    >>> import dynq_numba as dq
    >>> model = parser.parse_model('''<ir_version: 10, opset_import: ["": 21]>
    ...     double (float[n] x) => (float[n] y) { y = Add (x, x) }''')
    >>> session = dq.onnx.InferenceSession(model)
    >>> session.run(None, {"x": np.array([1.0, 2.5], np.float32)})
    [array([2., 5.], dtype=float32)]
    """

    def __init__(
        self,
        path_or_bytes: Any,
        threads: Any = None,
        *,
        sess_options: Any = None,
        providers: Sequence[Any] | None = None,
        semantics: Literal["rowwise", "file"] = "rowwise",
        weight_cache: str | os.PathLike[str] | None = None,
    ) -> None:
        checks.choice("semantics", semantics, SEMANTICS)
        count = thread_count(threads, sess_options)
        check_providers(providers)
        cache = cache_of(weight_cache)
        name = files.called(path_or_bytes, "path_or_bytes")
        model = files.read(path_or_bytes, "path_or_bytes")
        with files.clear_errors(name):
            self._model, notes, _ = runnable(model, name, semantics)
            absent = missing(self._model)
        if absent:
            why = "".join(f"; {note}" for note in notes if any(each in note for each in absent))
            raise UnsupportedModelError(f"{name} has operators that nothing here computes: {', '.join(absent)}{why}")
        graph = self._model.graph
        self._caches = caches(graph)
        self._feeds = Feeds(graph.inputs, {each.input: each.axis for each in self._caches})
        self._outputs = list(map(argument, graph.outputs))
        self._names = [each.name for each in self._outputs]
        self._threads, self._weight_cache = count, cache
        self._plan = self._new_plan()

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, np.ndarray],
        run_options: Any = None,
        *,
        out: Mapping[str, np.ndarray] | None = None,
    ) -> list[np.ndarray]:
        """Run the model.

        Parameters
        ----------
        output_names : sequence of str, or None
            Which results, in which order; None, or none, for all.
        input_feed : mapping of str to array
            An array for each input, of the model's type. Any strides; read-only arrays, too. Lists and numbers of
            Python become arrays of that type. An initializer that is an input, too, may be left out. Texts are arrays
            of str, sequences are lists of arrays, an optional may be None; the steps that use them run in Python.
        run_options : optional
            Taken for code written for ONNX Runtime, and not looked at.
        out : mapping of str to array, optional
            Arrays that some results are written to: C contiguous, of the result's type and shape. That of a cache may
            be a view of your own memory for it, of which what you feed is a shorter view.

        Returns
        -------
        list of array
            New arrays, or those of `out`. A result that is an input with something behind it, as the caches of a
            decoder, is a view of memory with room. Fed back, it grows there: then both share memory. A sequence is a
            list of arrays, an optional without a value None.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what it was and what is allowed. Feeds are looked at before anything runs.
        MemoryError
            If there is too little memory.
        """
        if isinstance(output_names, str):
            raise TypeError(f"output_names must be a list of names or None; got {output_names!r}")
        feeds = self._feeds.arrays(input_feed)
        for name in output_names or ():
            if name not in self._names:
                raise ValueError(f"output_names must be of {', '.join(self._names)}; got {name!r}")
        targets = {} if out is None else self._targets(out, feeds)
        plan = self._plan
        results = plan.run(feeds, targets)
        if plan.is_full:
            self._plan = self._new_plan()
        if not output_names:
            return results
        return [results[self._names.index(name)] for name in output_names]

    def _new_plan(self) -> Plan | Interpreted:
        """Compiled; with NUMBA_DISABLE_JIT=1 by onnx.reference."""
        kind = cast("type[Plan] | type[Interpreted]", choose(Plan, Interpreted))
        return kind(self._model, KERNELS, self._threads, self._weight_cache)

    def _targets(self, out: Mapping[str, np.ndarray], feeds: tuple[np.ndarray, ...]) -> dict[int, np.ndarray]:
        targets: dict[int, np.ndarray] = {}
        if not isinstance(out, Mapping):
            raise TypeError(f"out must be a mapping of names of outputs to arrays; got {checks.describe(out)}")
        for name, array in out.items():
            if name not in self._names:
                raise ValueError(f"out must have names of {', '.join(self._names)}; got {name!r}")
            position = self._names.index(name)
            cache = next((each for each in self._caches if each.output == position), None)
            plain = isinstance(array, np.ndarray) and array.flags.writeable
            if not plain or not (array.flags.c_contiguous or (cache and has_gap(array, cache.axis))):
                raise ValueError(f"out[{name!r}] must be a writable C contiguous array; got {checks.describe(array)}")
            others = [*feeds, *targets.values()]
            if cache and cache.in_place and begins_with(array, feeds[cache.input], cache.axis):
                del others[cache.input]
            if any(np.may_share_memory(array, other) for other in others):
                raise ValueError(f"out[{name!r}] must not share memory with an input or another result")
            targets[position] = array
        return targets

    def get_inputs(self) -> list[NodeArg]:
        """What the model must be given, in order."""
        return [each for each in self._feeds.inputs if each.name not in self._feeds.defaults]

    def get_overridable_initializers(self) -> list[NodeArg]:
        """What the model may be given, and has a value of its own for."""
        return [each for each in self._feeds.inputs if each.name in self._feeds.defaults]

    def get_outputs(self) -> list[NodeArg]:
        """What the model gives, in order."""
        return list(self._outputs)

    def get_providers(self) -> list[str]:
        """As ONNX Runtime calls what computes here."""
        return [CPU]

    def get_modelmeta(self) -> ModelMeta:
        """What the model says of itself."""
        model = self._model
        return ModelMeta(
            model.producer_name or "", model.graph.name or "", model.domain or "", model.doc_string or "",
            model.model_version or 0, dict(model.metadata_props),
        )  # fmt: skip

    def __reduce__(self) -> NoReturn:
        raise TypeError("an InferenceSession cannot be pickled or copied; open the model again, in each process")

    def report(self, times: Mapping[str, np.ndarray] | None = None) -> Report:
        """The steps of all that has run so far: kernel or Python, of which nodes, invariant or not.

        Parameters
        ----------
        times : mapping of str to array, optional
            Feeds as `run` takes them. Then it has the steps of a run on these, with microseconds: the least of some
            runs, without what it takes to call a step.

        Returns
        -------
        Report
            Prints as a table.
        """
        return report_of(self._plan) if times is None else timed_report(self._plan, self._feeds.arrays(times))


def zeros_for(
    session: InferenceSession, shapes: Mapping[str, Sequence[int]] | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Feeds of zeros, some of them of given shapes; and which lengths were guessed (`Feeds.zeros`)."""
    return session._feeds.zeros(shapes)
