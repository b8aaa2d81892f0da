"""How kernels are compiled (kernels/base/parts.py): parts as LLVM IR only, roots once and with one wrapper."""

import gc

import pytest
from numba import types

from dynq_numba.kernels.base.jit import compiled
from dynq_numba.kernels.base.memory import WORKER_SIGNATURE
from dynq_numba.kernels.base.parts import Kernel, PartLibrary
from dynq_numba.kernels.threads import partition
from dynq_numba.runtime import kernel_table


def parts_of(kernel):
    """Kernels that a kernel's function refers to, itself or through others."""
    found, waiting = set(), [kernel]
    while waiting:
        function = waiting.pop().py_func
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        named = [function.__globals__.get(name) for name in function.__code__.co_names]
        new = {thing for thing in (*cells, *named) if isinstance(thing, Kernel)} - found
        found |= new
        waiting += new
    return found


def test_parts_are_never_translated_and_constants_make_no_variants():
    worker = kernel_table.kernel_for("quantize", kernel_table.INSTRUCTION_SETS[-1]).worker()
    compiled(worker, WORKER_SIGNATURE)
    parts = parts_of(worker)
    assert len(parts) > 3
    for part in parts:
        assert all(isinstance(result.library, PartLibrary) for result in part.overloads.values())
        assert not any(isinstance(argument, types.Literal) for signature in part.overloads for argument in signature)
        assert not any(result.library.has_dynamic_globals for result in part.overloads.values()), "not kept on disk"


def test_the_root_of_a_kernel_has_one_wrapper_and_other_symbols():
    address, entry = partition.share.root("address"), partition.share.root("entry")
    assert address is partition.share.root("address") is not entry
    assert len({each.py_func.__qualname__ for each in (address, entry, partition.share)}) == 3
    result = compiled(partition.share, (types.intp,) * 3)
    names = {function.name for function in result.library.get_defined_functions()}
    assert not any(name.startswith("_ZN7cpython") for name in names)


def test_a_kernel_can_be_called_from_python():
    for part in range(3):
        assert partition.share(part, 3, 11) == partition.share.py_func(part, 3, 11)


class Compiling:
    """A dispatcher that fails, and saw whether garbage was collected."""

    overloads = ()

    def compile(self, signature):
        self.collected = gc.isenabled()
        raise ZeroDivisionError


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_again_after_compiling(enabled):
    dispatcher = Compiling()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            compiled(dispatcher, ())
        assert gc.isenabled() == enabled and not dispatcher.collected
    finally:
        gc.enable()
