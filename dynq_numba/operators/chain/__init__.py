"""Row-wise operators, one after another, as one call."""

from __future__ import annotations

from ..base import Operator
from . import step
from .api import Chain
from .warm import warm

OPERATOR = Operator(
    "chain",
    title="Chains",
    about="row-wise operators, one after another, as one call",
    public={"Chain": Chain, "step": step},
    warm=warm,
    uses=("linear", "rowwise"),
)
