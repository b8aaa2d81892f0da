"""Records: memory with named, typed fields of 8 bytes, declared once, as a class.

    class Image(Record):                          image = Image(address)          in a kernel: fields are attributes
        pixels: Pointer  # address of bytes       y = image.height - 1
        height: int                               image.pixels = offset(image.pixels, 4)
        scale: Float                              Image.height                    in Python: the number of the word

A record inherits the fields of its base, in the same places, so a pointer to it is one to its base. In compiled code it
is a pointer of its own type: a field costs the load or store that it is, and is converted to a plain one where one is
expected. Pointers stay pointers on their way through memory: the round trip through integers hides from LLVM what may
alias what, and has been miscompiled.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.imputils import lower_cast, lower_getattr_generic, lower_setattr_generic
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from .memory import ALIGN, BYTES, F32, I64

#: What annotates a field, besides int; a type checker sees what a field is in Python.
Pointer = int
Float = int
#: A word that is used by its address, which is what the attribute gives.
Slot = int
#: A Slot with which a cache line begins.
Line = int
_KINDS = {"int": (types.int64, I64), "Pointer": (types.voidptr, BYTES), "Float": (types.float32, F32),
          "Slot": (types.voidptr, None), "Line": (types.voidptr, None)}  # fmt: skip


class RecordType(types.Type):
    """numba's type of a pointer to a record."""

    def __init__(self, record: type[Record]):
        self.record = record
        super().__init__(f"{record.__module__.rpartition('kernels.')[2]}.{record.__name__}")

    def can_convert_to(self, typingctx: Any, other: types.Type) -> Any:
        return Conversion.safe if other == types.voidptr else None


class Record:
    """Base of all records: no field."""

    #: numba's and LLVM's type of each field, in order, and how many there are.
    kinds: ClassVar[dict[str, tuple]] = {}
    size: ClassVar[int] = 0

    def __init_subclass__(cls) -> None:
        own: dict[str, tuple] = {}
        first = cls.size
        for name, kind in inspect.get_annotations(cls).items():
            while kind == "Line" and (first + len(own)) * 8 % ALIGN:
                own[f"_{first + len(own)}"] = _KINDS["int"]
            own[name] = _KINDS[kind]
        cls.kinds, cls.size = {**cls.kinds, **own}, first + len(own)
        for place, name in enumerate(own, first):
            if hasattr(Record, name):
                raise TypeError(f"{cls.__name__}.{name} would hide what every record has")
            setattr(cls, name, place)
        kind = RecordType(cls)

        @type_callable(cls)
        def typed(context: Any) -> Any:
            return lambda base: kind if base == types.voidptr or isinstance(base, RecordType) else None

        lower_builtin(cls, types.Any)(lambda context, builder, signature, args: args[0])

    def __init__(self, address: Any):
        raise NotImplementedError(f"{type(self).__name__}(address) is for compiled code")

    @classmethod
    def lines(cls) -> int:
        """Bytes, in whole cache lines."""
        return -(-8 * cls.size // ALIGN) * ALIGN

    @classmethod
    def place(cls, builder: ir.IRBuilder, base: ir.Value, name: str) -> ir.Value:
        """Where a field of the record at `base` lies."""
        element = cls.kinds[name][1]
        place = builder.gep(base, [ir.Constant(I64, 8 * list(cls.kinds).index(name))])
        return place if element is None else builder.bitcast(place, element.as_pointer())

    @classmethod
    def load(cls, builder: ir.IRBuilder, base: ir.Value, name: str) -> ir.Value:
        """The value of a field, as emitted code reads it."""
        place = cls.place(builder, base, name)
        return place if cls.kinds[name][1] is None else builder.load(place)

    @classmethod
    def array(cls, **values: int) -> np.ndarray:
        """An int64 array with these fields, for Python to hand over; all of them must be given."""
        words = np.zeros(cls.size, np.int64)
        cls.fill(words, **values)
        if values.keys() != cls.kinds.keys():
            raise TypeError(f"{cls.__name__} wants {sorted(cls.kinds.keys() ^ values.keys())} too")
        return words

    @classmethod
    def fill(cls, words: np.ndarray, /, **values: int) -> None:
        """Set fields of the record that int64 `words` are, from Python; the others stay."""
        for name, value in values.items():
            words[list(cls.kinds).index(name)] = value


@register_model(RecordType)
class _RecordModel(models.OpaqueModel):
    """i8*, as voidptr."""


@lower_cast(RecordType, types.RawPointer)
def _plain(context, builder, source, target, value):
    return value


@infer_getattr
class _Fields(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, kind, name):
        return kind.record.kinds[name][0] if name in kind.record.kinds else None


@lower_getattr_generic(RecordType)
def _get(context, builder, kind, value, name):
    return kind.record.load(builder, value, name)


@lower_setattr_generic(RecordType)
def _set(context, builder, signature, args, name):
    builder.store(args[1], signature.args[0].record.place(builder, args[0], name))


@intrinsic
def bytes_of(typingctx, record):
    """Bytes of a record, which is given as its class, in whole cache lines."""
    size = record.typing_key.lines()

    def codegen(context, builder, signature, args):
        return ir.Constant(I64, size)

    return types.int64(record), codegen
