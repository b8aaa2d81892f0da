"""Validation of arguments: every message names the argument, what it was, and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..kernels.base.limits import MAX_THREADS

F32 = np.dtype(np.float32)


def describe(value: Any) -> str:
    """A short description of a value for error messages."""
    if isinstance(value, np.ndarray):
        return f"ndarray of {value.dtype}, shape {value.shape}"
    if _tensor(value):
        return f"{type(value).__name__} of {value.dtype}, shape {tuple(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def choice(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """`value` if it is one of `allowed`."""
    options = tuple(allowed)
    if not any(type(value) is type(option) and value == option for option in options):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {describe(value)}")
    return value


def dtype_name(value: Any) -> Any:
    """The name of a dtype that is given as np.int8 or np.dtype("int8"); anything else as it is."""
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    return value


def is_float(dtype: np.dtype) -> bool:
    """float16, float32, float64, or ml_dtypes' bfloat16."""
    return (dtype.kind == "f" and dtype.itemsize in (2, 4, 8)) or dtype.name == "bfloat16"


def _tensor(value: Any) -> bool:
    """Whether it is an array of another library."""
    return all(hasattr(type(value), each) for each in ("__dlpack__", "dtype", "shape"))


def plain(name: str, value: Any, what: str) -> np.ndarray:
    """`value` as a plain numpy array, not a subclass. A masked array is refused, because its mask would be lost.

    An array of another library, such as a torch tensor, becomes one through DLPack, with the same memory.
    """
    if type(value) is np.ndarray:
        return value
    if _tensor(value) and not isinstance(value, np.ndarray):
        try:
            return np.from_dlpack(value)
        except Exception as error:  # each library has its own
            why = f"numpy cannot take it as it is ({str(error).splitlines()[0] if str(error) else error!r})"
            hint = f"pass {name}.detach().cpu().numpy(), of bfloat16 {name}.detach().cpu().float().numpy()"
            raise TypeError(f"{name} must be {what}; got {describe(value)}, and {why}: {hint}") from None
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be {what}; got {describe(value)}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be {what} without a mask; got a masked array: fill it, or take its .data")
    return value.view(np.ndarray)


def integers(name: str, value: Any) -> np.ndarray:
    """An array of integers of any type, from whatever numpy makes one."""
    try:
        array = plain(name, value if isinstance(value, np.ndarray) else np.asarray(value), "integers")
    except ValueError as error:  # lists of different lengths
        raise TypeError(f"{name} must hold integers; got {describe(value)}") from error
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers; got {describe(value)}")
    return array


def float_array(name: str, value: Any, *, ndim: int | None = None) -> np.ndarray:
    """`value` as a float32 array (the same one where it is float32 already)."""
    value = plain(name, value, "a numpy array of floats")
    if not is_float(value.dtype):
        raise TypeError(f"{name} must be float16, float32, float64 or bfloat16; got {describe(value)}")
    if ndim is not None and value.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions; got {describe(value)}")
    if value.dtype == F32:
        return value
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 becomes inf, and then a NaN row
        return value.astype(F32)


def byte_array(name: str, value: Any) -> np.ndarray:
    """An int8 or uint8 array of at least one dimension."""
    array = plain(name, value, "an int8 or uint8 numpy array")
    if array.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise TypeError(f"{name} must be an int8 or uint8 numpy array; got {describe(value)}")
    return array


def out_array(out: Any, dtype: np.dtype, shape: tuple[int, ...], name: str = "out") -> None:
    """The array `name` is a writable array of that dtype and shape, contiguous along its last axis."""
    what = f"{'an' if dtype.name == 'int8' else 'a'} {dtype.name} numpy array"
    if _tensor(out) and not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be {what}; got {describe(out)}: pass {name}.numpy(), which shares its memory")
    if plain(name, out, what).dtype != dtype:
        raise TypeError(f"{name} must be {what}; got {describe(out)}")
    if out.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name} must be writable; got a read-only array")
    if out.ndim and shape[-1] > 1 and out.size and out.strides[-1] != out.itemsize:
        raise ValueError(f"{name} must be contiguous along its last axis; got strides {out.strides}")


def mask_array(name: str, value: Any) -> np.ndarray:
    """An array of booleans or floats."""
    array = plain(name, value, "a numpy array of booleans or floats")
    if array.dtype != np.bool_ and not is_float(array.dtype):
        raise TypeError(f"{name} must be a numpy array of booleans or floats; got {describe(value)}")
    return array


def is_integer(value: Any) -> bool:
    """Python's or numpy's; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def integer(name: str, value: Any, what: str = "an integer") -> int:
    """An integer of any size."""
    if not is_integer(value):
        raise TypeError(f"{name} must be {what}; got {describe(value)}")
    return int(value)


def number(name: str, value: Any, what: str = "a number") -> float:
    """A real number of any size; infinity stands for integers beyond float64."""
    if not (is_integer(value) or isinstance(value, (float, np.floating))):
        raise TypeError(f"{name} must be {what}; got {describe(value)}")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def boolean(name: str, value: Any, what: str = "True or False") -> bool:
    """Python's or numpy's."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be {what}; got {describe(value)}")
    return bool(value)


def axis_of(array: np.ndarray, value: Any, of: str = "x") -> int:
    """One of the array's axes, counted from its end: -1 is the last."""
    axis = integer("axis", value)
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis must be in [-{array.ndim}, {array.ndim}) for {of} of shape {array.shape}; got {axis}")
    return axis % array.ndim - array.ndim


def thread_count(name: str, value: Any) -> int:
    """An integer from 1 to MAX_THREADS."""
    if type(value) is int and 1 <= value <= MAX_THREADS:
        return value
    count = integer(name, value, "a positive integer or None")
    if not 1 <= count <= MAX_THREADS:
        raise ValueError(f"{name} must be from 1 to {MAX_THREADS}; got {count}")
    return count
