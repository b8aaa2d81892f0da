"""numba types of what Python passes to kernels. Each kernel has one signature, for any layout and flags of arrays."""

from numba import types

WORD = types.int64
FLOAT_MATRIX = types.Array(types.float32, 2, "A")
BYTE_MATRIX = types.Array(types.uint8, 2, "A")
FLOATS = types.Array(types.float32, 1, "C")
INTS = types.Array(types.int32, 1, "C")
WORDS = types.Array(types.int64, 1, "C")
BYTES = types.Array(types.uint8, 1, "C")
FLOATS_2D = types.Array(types.float32, 2, "C")
INT8_2D = types.Array(types.int8, 2, "C")
BYTES_2D = types.Array(types.uint8, 2, "C")
INTS_2D = types.Array(types.int32, 2, "C")
