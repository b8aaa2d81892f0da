"""How a quantized layer is written into the artifact; a new format is a file of this folder and a row here."""

from .base import Format
from .dynq import DYNQ
from .nbits import NBITS
from .qdq import QDQ
from .qoperator import QOPERATOR, QOPERATOR_U8S8

#: By their names; the first is the default.
FORMATS: dict[str, Format] = {each.name: each for each in (DYNQ, QDQ, NBITS, QOPERATOR, QOPERATOR_U8S8)}

__all__ = ["DYNQ", "FORMATS", "Format"]
