"""Whole models as `onnx_ir.Model`, the one form. Knows operators, no framework."""

from . import sympy_later as sympy_later  # before anything imports onnx_ir
