"""Chain: several row-wise operators as one call. Each block of rows goes through all of them in one core's cache."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import empty, ndarray

from ...arguments import checks
from ...arguments.checks import F32
from ...runtime import isa
from . import program as runtime
from . import step
from .plan import Plan


class Chain:
    """Operators that work row by row, one after another: linears, norms, swiglu.

    The results have the same bits as calls of the functions one by one. With many rows, one block of rows at a time
    goes through all steps on one core, and intermediate values stay in its cache. So a feed-forward layer never writes
    an array of its inner width to memory, and an activation and the next layer's quantization are one pass. With few
    rows, every step is split among the threads. In both cases it is one call.

    Parameters
    ----------
    steps : mapping of str to step
        In order; the key names the step's result. Steps are ``dq.step.Linear``, ``LayerNorm``, ``RMSNorm`` and
        ``SwiGLU``. A step names its inputs: another step, a `sum` of a norm, or an array of the call.
    returns : str or sequence of str, optional
        What a call returns: an array for one name, a tuple for a sequence. By default the last step's result.

    Attributes
    ----------
    arguments : tuple of str
        The arrays that a call takes: names that are no step's result, in the order in which steps use them.

    Raises
    ------
    TypeError, ValueError
        Names the step and what is wrong with it.

    Notes
    -----
    A weight with ``x_granularity="per_tensor"`` is refused, because its results depend on the batch. With a rotated
    weight, or with NUMBA_DISABLE_JIT=1, the steps run as single calls. Bits, bounds and sources are those of the
    functions. bench/RESULTS.md has the gain (``python -m bench operators chain``). It is small where the last cache
    holds all intermediate values.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> up, down, scale = dq.pack_linear(np.eye(8, 4)), dq.pack_linear(np.eye(4, 8)), np.ones(4, np.float32)
    >>> block = dq.Chain({
    ...     "up": dq.step.Linear(up, activation="gelu"),
    ...     "down": dq.step.Linear(down),
    ...     "y": dq.step.LayerNorm(scale, residual="x"),
    ... })
    >>> block.arguments
    ('x',)
    >>> x = np.random.default_rng(0).standard_normal((3, 4), np.float32)
    >>> h = dq.linear(dq.linear(x, up, activation="gelu"), down)
    >>> np.array_equal(block(x), dq.layer_norm(h, scale, residual=x))
    True
    """

    arguments: tuple[str, ...]

    def __init__(self, steps: Mapping[str, step.Step], returns: str | Sequence[str] | None = None):
        self._plan = Plan(steps, returns)
        self.arguments = self._plan.arguments
        self._single = isinstance(returns, str) or returns is None
        self._others = self.arguments[1:]
        self._takes = [self._plan.widths[name] for name in self.arguments]
        self._gives = [self._plan.widths[name] for name in self._plan.returns]
        self._programs: dict[str, runtime.Program | None] = {}
        self._first = self._program()

    def __call__(
        self, x: np.ndarray, /, *, threads: int | None = None, **others: np.ndarray
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """Run the steps.

        Parameters
        ----------
        x : array [..., width] of floats
            The first of `arguments`.
        threads : int, optional
            As for `linear`.
        **others : arrays [..., width] of floats
            The other arguments by name; all but the last axis as x.

        Returns
        -------
        float32 array [..., width], or a tuple of them
            The results that `returns` names; each new and contiguous.

        Raises
        ------
        TypeError, ValueError
            Names the argument, what it was and what is allowed.
        MemoryError
            If there is too little memory for results or intermediate values.
        """
        given = [x]
        try:
            for name in self._others:
                given.append(others[name])
        except KeyError:
            pass
        if len(given) != len(self.arguments) or len(others) != len(self._others):
            wanted, got = (", ".join(names) or "none" for names in (self._others, others))
            raise TypeError(f"arguments beside {self.arguments[0]} must be: {wanted}; got {got}")
        count = 0 if threads is None else checks.thread_count("threads", threads)
        lead = None
        if not all(map(_plain, given)) or [array.shape for array in given] != [(len(x), k) for k in self._takes]:
            given, lead = self._made_plain(given)
        program = self._program() if isa.ever_forced else self._first
        if program is None:
            results = self._one_by_one(given, threads)
        else:
            rows = len(given[0])
            results = [empty((rows, width), F32) for width in self._gives]
            if rows:
                program.run((*given, *results), count)
        if lead is not None:
            results = [result.reshape(*lead, result.shape[1]) for result in results]
        return results[0] if self._single else tuple(results)

    def _made_plain(self, given: list[Any]) -> tuple[list[np.ndarray], tuple[int, ...]]:
        """The arguments as float32 matrices with contiguous rows, and the axes before the last that they have."""
        arrays: list[np.ndarray] = []
        lead: tuple[int, ...] | None = None
        for name, value, width in zip(self.arguments, given, self._takes, strict=True):
            array = checks.float_array(name, value)
            if lead is None and array.ndim:
                lead = array.shape[:-1]
            if lead is None or array.shape != (*lead, width):
                shape = f"[..., {width}]" if lead is None or not arrays else str((*lead, width))
                raise ValueError(f"{name} must have shape {shape}; got {array.shape}")
            array = array.reshape(math.prod(lead), width)
            arrays.append(array if array.strides[1] == 4 or width <= 1 else np.ascontiguousarray(array))
        assert lead is not None
        return arrays, lead

    def _program(self) -> runtime.Program | None:
        """What runs on the instruction set in force; made on first use of another one."""
        name = isa.active().name
        if name not in self._programs:
            self._programs[name] = runtime.program(self._plan)
        return self._programs[name]

    def _one_by_one(self, arrays: list[np.ndarray], threads: int | None) -> list[np.ndarray]:
        """The steps as calls of the functions."""
        values = dict(zip(self._plan.arguments, arrays, strict=True))
        for name, each, source in self._plan.steps:
            values |= each.run(name, values[source], values, threads)
        return [values[name] for name in self._plan.returns]

    def __reduce__(self) -> tuple[Any, ...]:
        returns = self._plan.returns
        return Chain, ({name: each for name, each, _ in self._plan.steps}, returns[0] if self._single else returns)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{name}: {type(each).__name__}" for name, each, _ in self._plan.steps)
        return f"Chain({', '.join(self.arguments)} -> {', '.join(self._plan.returns)}; {kinds})"


def _plain(value: Any) -> bool:
    """Whether an argument is a float32 matrix with contiguous rows."""
    return type(value) is ndarray and value.dtype is F32 and value.ndim == 2 and value.strides[1] == 4
