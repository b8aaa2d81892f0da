"""Inputs that the tests share: ordinary ones, corner values, extreme floats, odd memory layouts, poisoned buffers."""

import numpy as np

F32 = np.float32
POISON = np.uint32(0xDEADBEEF)


def normal_problem(rng, m, k, n):
    """Float32 x [m, k] (rows of very different size), weight [n, k] and bias [n]."""
    x = rng.standard_normal((m, k)) * 2.0 ** rng.integers(-9, 10, (m, 1)) + rng.integers(-2, 3, (m, 1))
    return x.astype(F32), rng.standard_normal((n, k)).astype(F32), rng.standard_normal(n).astype(F32)


def corner_problem(rng, k, peak=127):
    """Integer-valued float x [7, k] and weight [18, k], k >= 4, that quantize with scale 1 to the corners.

    The rows become all 255; all 0 with zero point 255; 0 and 255 with zero points 0, 128 and 255; and full-range noise.
    The channels are all +peak, all -peak, alternating, cancelling halves, random signs, and full-range noise.
    """
    coin = rng.integers(0, 2, k)
    coin[0], coin[-1] = 0, 1
    noise = rng.integers(0, 256, k)
    noise[0], noise[-1] = 0, 255
    x = [np.full(k, 255), np.full(k, -255), 255 * coin, 255 * coin - 128, -255 * coin, noise, noise - 128]
    sign = np.sign(rng.integers(0, 2, (8, k)) - 0.5)
    even, half = np.where(np.arange(k) % 2, -1, 1), np.where(np.arange(k) < k // 2, 1, -1)
    spread = rng.integers(-peak, peak + 1, (6, k))
    spread[:, ::32] = peak
    weight = [np.full(k, peak), np.full(k, -peak), peak * even, peak * half, *(peak * sign), *spread]
    return np.stack(x).astype(F32), np.stack(weight).astype(F32)


def extreme_rows(rng, k):
    """Rows of zeros, subnormals, the largest floats (whose range overflows), and mixtures of them."""
    tiny, huge = np.finfo(F32).smallest_subnormal, np.finfo(F32).max
    steps = rng.integers(-600, 601, (4, k)).astype(F32) * tiny
    noise = rng.standard_normal((4, k)).astype(F32)
    sign = np.where(rng.integers(0, 2, (2, k)), F32(1), F32(-1))
    constant = [np.full(k, v, F32) for v in (0.0, -0.0, tiny, -tiny, 127 * tiny, 128 * tiny, 382 * tiny, huge, -huge)]
    spikes = np.where(np.arange(k) == k // 2, huge, steps[0]), np.where(np.arange(k) == k - 1, -huge, F32(1e-30))
    rows = [*constant, *steps, *(noise * F32(1e-38)), *(sign * huge), *(sign * F32(2.5e38)), *spikes]
    return np.stack(rows).astype(F32)


def halfway_rows(rng, rows):
    """Rows [rows, 767] of values halfway between two steps, and the floats on either side; the zero points vary.

    The first two rows have scale 1, so their ties are exact, with zero points 127 (odd) and 128.
    """
    lo, hi = -rng.uniform(0.1, 9, rows).astype(F32), rng.uniform(0.1, 9, rows).astype(F32)
    lo[:2], hi[:2] = [-127, -128], [128, 127]
    scale = ((hi - lo) / F32(255))[:, None]
    ties = (np.arange(-127, 128, dtype=F32) + F32(0.5)) * scale
    ties = np.clip(ties, lo[:, None], hi[:, None])
    below, above = np.nextafter(ties, lo[:, None]), np.nextafter(ties, hi[:, None])
    return np.concatenate([lo[:, None], hi[:, None], ties, below, above], axis=1)


def poisoned(shape):
    """A float32 buffer that holds the poison bits everywhere."""
    return np.full(shape, POISON, np.uint32).view(F32)


def untouched(buffer, inside):
    """Whether `buffer` still holds the poison wherever the mask `inside` is false."""
    return bool((buffer.view(np.uint32)[~inside] == POISON).all())


def _unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(x.tobytes(), np.uint8)
    return raw[1:].view(x.dtype).reshape(x.shape)


def _spaced(x, row_step, column_step):
    """`x` as every row_step-th row and column_step-th column of an array that is NaN elsewhere."""
    whole = np.full((x.shape[0] * row_step, x.shape[1] * column_step), np.nan, x.dtype)
    whole[::row_step, ::column_step] = x
    return whole[::row_step, ::column_step]


def _read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "column major": np.asfortranarray,
    "rows reversed": lambda x: x[::-1].copy()[::-1],
    "columns reversed": lambda x: x[:, ::-1].copy()[:, ::-1],
    "both reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "every other column": lambda x: _spaced(x, 1, 2),
    "every third row": lambda x: _spaced(x, 3, 1),
    "every other both": lambda x: _spaced(x, 2, 2),
    "rows of a wider array": lambda x: np.pad(x, ((1, 1), (3, 2)), constant_values=np.nan)[1:-1, 3:-2],
    "read-only": _read_only,
    "unaligned": _unaligned,
}
