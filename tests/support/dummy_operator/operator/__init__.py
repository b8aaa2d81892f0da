"""Twice what is given."""

from __future__ import annotations

from ...kernels.dummy.worker import double_worker
from ...runtime.kernel_table import Family
from ..base import Operator, named
from . import njit
from .api import double
from .warm import warm

OPERATOR = Operator(
    "dummy",
    title="Doubling",
    about="an operator that a test adds",
    public=named(double),
    kernels=(Family("double", "f32_vdouble", lambda isa, scheme: double_worker),),
    overloads=(njit.double_overload,),
    warm=warm,
)
