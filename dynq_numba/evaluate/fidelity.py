"""How far results are from those of the reference: computed as they come, so that none is kept.

    r, c   values of the reference and of the candidate, in float64; rows are slices of the first axis
    SQNR   10 log10 (Σ r² / Σ (r - c)²), in dB              cosine   Σ r c / √(Σ r² Σ c²), of a row
    KL     Σ r ln (r / c), of a vector along the last axis, where all of these are probabilities

Flips are decisions that come out otherwise: of a vector along the last axis its largest value, or the order of its
largest ones; of a value, the side of a threshold that it is on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Values whose order is compared: the largest ones of a vector.
TOP = 5
#: How far a sum of probabilities may be from 1.
_SUM = 1e-3
#: Probabilities of the candidate below this count as this.
_LEAST = 1e-12
#: Of the bits of a float32 error those that a bin has in common: sign, exponent and 6 bits behind the point.
_SHIFT = 17
_BINS = 1 << (31 - _SHIFT)
#: Values that are looked at together.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Fidelity:
    """How far the values of one output, or layer, are from the reference's.

    Attributes
    ----------
    name : str
    values, rows : int
        How many were compared.
    identical : bool
        Whether all have the same bits, but for the sign of zeros.
    sqnr_db : float
        Power of the signal over that of the difference, in dB: inf where there is no difference, -inf where one of
        the two is not finite and the other is something else.
    cosine_mean, cosine_worst : float
        Of rows; of all values together where a row is one value. 0 where one of the two is not finite.
    worst_row : int
        The number of the row with the least cosine, from 0.
    max_abs_error, p99_abs_error : float
        The second to within 1/64 of itself, above.
    mismatches : int
        Values that differ at all.
    not_finite : int
        Values that are NaN or infinite in one of the two.
    kl_mean, kl_max : float or None
        In nats, of vectors along the last axis; None where these are not probabilities.
    decisions : int
        Vectors along the last axis, of at least two values.
    argmax_flips, ranking_flips : float or None
        Part of the vectors whose largest value is another one; of which the largest TOP values are in another order.
    threshold_flips : float or None
        Part of the values on the other side of the threshold; None where there is none.
    threshold : float or None
        The caller's, or 0.5 where all values of the reference are between 0 and 1.
    """

    name: str
    values: int
    rows: int
    identical: bool
    sqnr_db: float
    cosine_mean: float
    cosine_worst: float
    worst_row: int
    max_abs_error: float
    p99_abs_error: float
    mismatches: int
    not_finite: int
    kl_mean: float | None = None
    kl_max: float | None = None
    decisions: int = 0
    argmax_flips: float | None = None
    ranking_flips: float | None = None
    threshold_flips: float | None = None
    threshold: float | None = None

    @property
    def loss(self) -> float:
        """1 - mean cosine."""
        return 1 - self.cosine_mean


class Tally:
    """Computes the fidelity of values that come in parts; rows of parts may be any.

    Parameters
    ----------
    name : str
    decisions : bool
        Whether to look for probabilities and flips: not where values are activations.
    logits : bool
        Whether KL is that of the softmax of vectors, which need not be probabilities then.
    threshold : float, optional
        Whose sides are compared.
    """

    def __init__(
        self, name: str, *, decisions: bool = True, logits: bool = False, threshold: float | None = None
    ) -> None:
        self._name = name
        self._values = self._rows = self._mismatches = self._not_finite = 0
        self._broken = self._came = False
        self._rr = self._cc = self._rc = self._noise = self._most = 0.0
        self._cosines, self._worst, self._worst_row, self._single = 0.0, math.inf, 0, True
        self._bins = np.zeros(_BINS, np.int64)
        self._decisions = _Decisions(logits, threshold) if decisions else None

    def update(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """Take results of the same inputs; ValueError where their shapes differ."""
        a, b = np.asarray(reference), np.asarray(candidate)
        if a.shape != b.shape:
            raise ValueError(f"{self._name}: the reference gives shape {a.shape}, the candidate {b.shape}")
        if a.dtype.kind in "OUS" or b.dtype.kind in "OUS":  # texts: only whether they are the same
            a, b = np.zeros(a.shape), (a != b).astype(np.float64)
        self._came = True
        if a.size == 0:
            return
        rows = len(a) if a.ndim > 1 else a.size
        flat = a.reshape(rows, -1), b.reshape(rows, -1)
        step = max(1, _BLOCK // flat[0].shape[1])
        for i in range(0, rows, step):
            self._add(*(each[i : i + step] for each in flat))
        if self._decisions is not None:
            self._decisions.update(a, b)

    def _add(self, a: np.ndarray, b: np.ndarray) -> None:
        same = (a == b) | ((a != a) & (b != b))  # of large integers, too: before they are rounded
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        self._mismatches += int((~same).sum())
        whole = bool(finite.all())
        if not whole:
            self._not_finite += int((~finite).sum())
            self._broken |= bool((~finite & ~same).any())
            a_row_same = same.all(axis=1)
            a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
        error = np.abs(a - b)
        rr, cc, rc = ((x * y).sum(axis=1) for x, y in ((a, a), (b, b), (a, b)))
        self._rr, self._cc = self._rr + float(rr.sum()), self._cc + float(cc.sum())
        self._rc, self._noise = self._rc + float(rc.sum()), self._noise + float((error * error).sum())
        if whole or finite.any():
            self._most = max(self._most, float(error.max()))
        bits = error.astype(np.float32).view(np.uint32) >> _SHIFT
        self._bins += np.bincount(bits.reshape(-1), minlength=_BINS)
        length = np.sqrt(rr * cc)
        cosines = np.where(length > 0, np.minimum(rc / np.where(length > 0, length, 1), 1), rr == cc)
        if not whole:
            broken = (~finite).any(axis=1)
            cosines = np.where(broken, a_row_same.astype(np.float64), cosines)
        least = int(cosines.argmin())
        if cosines[least] < self._worst:
            self._worst, self._worst_row = float(cosines[least]), self._rows + least
        self._cosines += float(cosines.sum())
        self._single &= a.shape[1] == 1
        self._values, self._rows = self._values + a.size, self._rows + len(a)

    def result(self) -> Fidelity:
        """What was found so far; ValueError where nothing came. Results that are all empty are identical."""
        if self._came and not self._rows:
            return Fidelity(self._name, 0, 0, True, math.inf, 1.0, 1.0, 0, 0.0, 0.0, 0, 0)
        if not self._rows:
            raise ValueError(f"{self._name}: there are no values to compare")
        mean, worst = self._cosines / self._rows, self._worst
        if self._single:
            length = math.sqrt(self._rr * self._cc)
            mean = worst = min(self._rc / length, 1.0) if length else float(self._rr == self._cc)
            if self._broken:
                mean = worst = 0.0
        if self._broken:
            sqnr, most, p99 = -math.inf, math.inf, self._quantile(0.99)
        else:
            ratio = self._rr / self._noise if self._noise else math.inf
            sqnr, most, p99 = 10 * math.log10(ratio) if ratio else -math.inf, self._most, self._quantile(0.99)
        found: dict[str, Any] = {} if self._decisions is None else self._decisions.result()
        return Fidelity(
            self._name, self._values, self._rows, not self._mismatches, sqnr, mean, worst, self._worst_row, most,
            min(p99, most), self._mismatches, self._not_finite, **found,
        )  # fmt: skip

    def _quantile(self, part: float) -> float:
        """The upper end of the bin that has it."""
        place = int(np.searchsorted(np.cumsum(self._bins), math.ceil(part * self._values)))
        if place == 0:
            return 0.0  # of the smallest denormals, too
        return float(np.uint32(((place + 1) << _SHIFT) - 1).view(np.float32))


class _Decisions:
    """What is decided by vectors along the last axis, and by values."""

    def __init__(self, logits: bool, threshold: float | None) -> None:
        self.logits, self.threshold, self.given = logits, 0.5 if threshold is None else threshold, threshold is not None
        self.vectors = self.argmax = self.ranking = self.sides = self.values = 0
        self.kl, self.kl_most, self.probable, self.within, self.ranked = 0.0, 0.0, True, True, True

    def update(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        c = reference.shape[-1] if reference.ndim > 1 else 1
        a, b = reference.reshape(-1, c), candidate.reshape(-1, c)
        step = max(1, _BLOCK // c)
        for i in range(0, len(a), step):
            self._add(np.asarray(a[i : i + step], np.float64), np.asarray(b[i : i + step], np.float64))

    def _add(self, a: np.ndarray, b: np.ndarray) -> None:
        self.values += a.size
        self.sides += int(((a >= self.threshold) != (b >= self.threshold)).sum())
        self.within &= bool(((a >= 0) & (a <= 1)).all())
        c = a.shape[1]
        if c < 2:
            self.probable = False
            return
        self.vectors += len(a)
        self.argmax += int((a.argmax(axis=1) != b.argmax(axis=1)).sum())
        self.ranked &= c > 2
        if c > 2:
            self.ranking += int(_out_of_order(a, b).sum())
        if self.logits:
            self._divergence(_softmax(a), _softmax(b))
        elif self.probable:
            self.probable = _are_probabilities(a) and _are_probabilities(b)
            if self.probable:
                self._divergence(a, b)

    def _divergence(self, a: np.ndarray, b: np.ndarray) -> None:
        terms = np.where(a > 0, a * np.log(np.where(a > 0, a, 1) / np.maximum(b, _LEAST)), 0)
        each = np.maximum(terms.sum(axis=1), 0)
        self.kl, self.kl_most = self.kl + float(each.sum()), max(self.kl_most, float(each.max()))

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = {"decisions": self.vectors}
        if self.vectors:
            found["argmax_flips"] = self.argmax / self.vectors
            found["ranking_flips"] = self.ranking / self.vectors if self.ranked else None
            if self.logits or self.probable:
                found |= {"kl_mean": self.kl / self.vectors, "kl_max": self.kl_most}
        if self.given or self.within:
            found |= {"threshold_flips": self.sides / self.values, "threshold": self.threshold}
        return found


def _out_of_order(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether b does not have the largest values of a at the same places, in the same order."""
    k = min(TOP, a.shape[1])
    top = np.argpartition(-a, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(a, top, 1), axis=1, kind="stable")
    top = np.take_along_axis(top, order, 1)
    there, rest = np.take_along_axis(b, top, 1), b.copy()
    np.put_along_axis(rest, top, -np.inf, 1)
    return np.asarray((np.diff(there, axis=1) > 0).any(axis=1) | (rest.max(axis=1) > there[:, -1]))


def _are_probabilities(a: np.ndarray) -> bool:
    return bool((a >= 0).all() and (np.abs(a.sum(axis=1) - 1) <= _SUM).all())


def _softmax(a: np.ndarray) -> np.ndarray:
    powers = np.exp(a - a.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
