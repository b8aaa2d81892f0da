"""From a model to what a session runs: programs of compiled steps, and what Python does between them."""

from ..graph import sympy_later as sympy_later  # before anything imports onnx_ir
