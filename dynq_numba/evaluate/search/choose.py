"""Which rung each unit gets: tables of loss, bytes and work, which add up, and budgets for their sums.

    least  a·loss + b·bytes + c·work     separately for each unit, for many weights a, b, c (Lagrange multipliers)
    then   the best of these mixes within the budgets, and single changes as long as one makes it better

The order of units and rungs decides where two are equal, so the same tables give the same mix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Ratios of the weights: 10 to these powers.
_POWERS = np.linspace(-6, 6, 49)


@dataclass(frozen=True)
class Budget:
    """The most of each sum; infinity for no limit."""

    loss: float = np.inf
    bytes: float = np.inf
    work: float = np.inf


@dataclass(frozen=True)
class Table:
    """float64 [units, rungs] each; infinite loss where a unit cannot have a rung."""

    loss: np.ndarray
    bytes: np.ndarray
    work: np.ndarray

    def sums(self, choice: np.ndarray) -> tuple[float, float, float]:
        rows = np.arange(len(choice))
        return tuple(float(part[rows, choice].sum()) for part in (self.loss, self.bytes, self.work))  # type: ignore[return-value]


def choose(table: Table, budget: Budget, baseline: int) -> np.ndarray | None:
    """The rung of each unit, or None where no mix that was found is within the budgets.

    With a budget of loss the cheapest mix: bytes and work, each over that of rung `baseline` everywhere. Without one,
    the mix of the least loss.
    """
    whole = [float(part[:, baseline].sum()) or 1.0 for part in (table.bytes, table.work)]
    finite = table.loss[np.isfinite(table.loss)]
    scale = float(finite[finite > 0].mean()) if (finite > 0).any() else 1.0
    loss, size, work = table.loss / (scale * len(table.loss)), table.bytes / whole[0], table.work / whole[1]

    def value(choice: np.ndarray) -> tuple[bool, float]:
        """Whether a mix is too large, and its cost."""
        sums = table.sums(choice)
        limits = budget.loss, budget.bytes, budget.work
        over = [(found - limit) / (limit if limit > 0 else 1.0)
                for found, limit in zip(sums, limits, strict=True) if limit < np.inf]  # fmt: skip
        beyond = sum(max(0.0, each) for each in over)
        cost = sums[0] if budget.loss == np.inf else sums[1] / whole[0] + sums[2] / whole[1]
        return beyond > 1e-12, beyond if beyond > 1e-12 else cost

    mixes = {}
    for one in _POWERS:
        for other in _POWERS[::2] if budget.work < np.inf and budget.bytes < np.inf else (0.0, -2.0, 2.0):
            mix = np.argmin(loss + 10.0**one * (size + 10.0**other * work), axis=1)
            mixes[mix.tobytes()] = mix
    best = min(mixes.values(), key=value)
    while True:
        changes = []
        for unit in range(len(best)):
            for rung in range(table.loss.shape[1]):
                if rung != best[unit] and np.isfinite(table.loss[unit, rung]):
                    changed = best.copy()
                    changed[unit] = rung
                    changes.append(changed)
        better = min(changes, key=value, default=best)
        if not value(better) < value(best):
            break
        best = better
    return None if value(best)[0] else best
