"""The strings and numbers that options take, for type checkers.

At run time options are checked against lists beside the code that uses them. tests/contracts/test_types.py compares
both.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Activation = Literal["relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]
Bits = Literal[8, 4]
Granularity = Literal["auto", "per_tensor", "per_channel", "per_group"]
XGranularity = Literal["per_token", "per_tensor"]
XBits = Literal[8, 16]
GroupSize = Literal[32, 64, 128]
Rotation = Literal[16, 32, 64, 128]
ByteType = Literal["uint8", "int8"] | np.dtype | type[np.uint8] | type[np.int8]
Layout = Literal["onnx", "torch"]
Direction = Literal["forward", "reverse", "bidirectional"]
BagMode = Literal["sum", "mean", "max"]
Causal = bool | Literal["bottom_right", "top_left"]
