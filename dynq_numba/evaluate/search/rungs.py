"""The ways in which a linear can be stored, as rules of a recipe say them, and about how long its products take."""

from __future__ import annotations

from typing import Any, NamedTuple

FLOAT, INT8 = "float", "int8"


class Rung(NamedTuple):
    """Keys of a rule, and the time of its products over those of int8: about, for choosing; what is chosen is timed."""

    rule: dict[str, Any]
    work: float


_GPTQ = {"gptq": True}
_INT4 = {"bits": 4, "gptq": True}
#: By name. Ratios of work are of AVX512-VNNI and AMX at some hundred rows (docs/howto/onnx.md, "a ladder").
RUNGS: dict[str, Rung] = {
    FLOAT: Rung({"bits": 32}, 4.0),
    INT8: Rung({"bits": 8}, 1.0),
    "int8 gptq": Rung(_GPTQ, 1.0),
    "int8 smooth": Rung(_GPTQ | {"smooth": 0.5}, 1.04),
    "int8 rotate": Rung(_GPTQ | {"rotate": True}, 1.06),
    "int8 smooth rotate": Rung(_GPTQ | {"smooth": 0.5, "rotate": True}, 1.10),
    "int8 outliers": Rung(_GPTQ | {"outliers": 4}, 1.06),
    "w8a16": Rung(_GPTQ | {"x_bits": 16}, 2.0),
    "int4 g32": Rung(_INT4 | {"group_size": 32}, 1.1),
    "int4 g32 smooth": Rung(_INT4 | {"group_size": 32, "smooth": 0.5}, 1.14),
    "int4 g32 outliers": Rung(_INT4 | {"group_size": 32, "outliers": 4}, 1.16),
    "int4 g64 smooth": Rung(_INT4 | {"group_size": 64, "smooth": 0.5}, 1.12),
    "int4 g128 smooth": Rung(_INT4 | {"group_size": 128, "smooth": 0.5}, 1.08),
}
