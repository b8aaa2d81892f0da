"""A kernel that other kernels call is a *part*; one that is reached by address, or from Python, is a *root*.

numba makes machine code and two wrappers for every function, and copies everything that the function calls. Tiles
inside four levels of loops were optimised and translated four times, which took two thirds of a warm-up. So

    part    LLVM IR only: no wrapper, no optimisation, no machine code; its own parts are linked in where it is linked
    root    parts linked in and optimised together, once; one wrapper, for C or for Python

One kernel can be both: `Kernel` is its part, `Kernel.root` the rest.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
from numba.core.cgutils import normalize_ir_text
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult, compile_result
from numba.core.registry import CPUDispatcher
from numba.core.types import Literal

from .cache import ENVIRONMENT, KernelCache


class PartLibrary(JITCodeLibrary):
    """A function's LLVM IR, not optimised, for others to link."""

    _shared_module: Any

    def add_ir_module(self, module: Any) -> None:
        self._raise_if_finalized()
        text = str(module)  # once: it is megabytes
        for name, value in module.globals.items():
            if name.startswith(ENVIRONMENT):
                if text.count(name) > 1:
                    raise NotImplementedError(f"{self.name} refers to Python objects, which a kernel cannot: {name}")
                text = text.replace(str(value), "")
        parsed = llvm.parse_assembly(normalize_ir_text(text))
        parsed.verify()
        self.add_llvm_module(parsed)  # which simplifies each function: without that, softmax is 4 % slower

    def finalize(self) -> None:
        self._raise_if_finalized()
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """What numba tells where a function's environment is."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """There is none."""

    def _get_module_for_linking(self) -> Any:
        self._ensure_finalized()
        if self._shared_module is None:
            module = self._final_module.clone()
            for library in dict.fromkeys(self._linking_libraries):
                module.link_in(library._get_module_for_linking(), preserve=True)
            for function in list(module.functions):
                if not function.is_declaration and function.linkage == llvm.Linkage.external:
                    function.linkage = "linkonce_odr"  # as numba has it: any copy will do, and may be inlined
            self._shared_module = module
        return self._shared_module

    def bitcode(self) -> bytes:
        return self._get_module_for_linking().as_bitcode()

    @classmethod
    def restored(cls, codegen: Any, name: str, bitcode: bytes) -> PartLibrary:
        self = cls(codegen, name)
        self._final_module = self._shared_module = llvm.parse_bitcode(bitcode)
        self._finalized = True
        return self


class PartCompiler(Compiler):
    """Compiles a function as a part."""

    def compile_extra(self, function: Any) -> Any:
        self.state.library = PartLibrary(self.state.targetctx.codegen(), function.__qualname__)
        return super().compile_extra(function)


class _PartCache(KernelCache):
    """The cache of a part."""

    def _state(self, result: CompileResult) -> Any:
        described = result.fndesc
        described.typemap = described.calltypes = None  # as numba does: they may not be picklable
        return result.library.name, result.library.bitcode(), described, result.signature

    def _restore(self, context: Any, state: Any) -> CompileResult:
        name, bitcode, described, signature = state
        return compile_result(
            target_context=context, typing_context=context.typing_context, signature=signature, fndesc=described,
            library=PartLibrary.restored(context.codegen(), name, bitcode), objectmode=False, lifted=(), reload_init=(),
            entry_point=object(),  # numba tells functions apart by it
        )  # fmt: skip


def _named(function: Any, role: str) -> Any:
    """The same function under another name, and so other symbols."""
    same = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )  # fmt: skip
    same.__qualname__, same.__module__ = f"{function.__qualname__}_{role}", function.__module__
    return same


class Kernel(CPUDispatcher):
    """A function as a part, made by `part`; called from Python, it is a root."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.variant = ""
        self._roots: dict[str, CPUDispatcher] = {}

    def root(self, role: str) -> CPUDispatcher:
        """The dispatcher of the same function that can be reached: "address" by C, "entry" from Python."""
        if role not in self._roots:
            wrappers = {"no_cpython_wrapper": role != "entry", "no_cfunc_wrapper": role != "address"}
            made = CPUDispatcher(_named(self.py_func, role), targetoptions={**self.targetoptions, **wrappers})
            made._cache = KernelCache(made.py_func, self.variant)
            self._roots.setdefault(role, made)
        return self._roots[role]

    def add_overload(self, result: CompileResult) -> None:
        self.overloads[tuple(result.signature.args)] = result  # not for Python to call

    def get_call_template(self, arguments: Any, named: Any) -> Any:
        """numba would compile once more for every constant that is passed."""
        plain = [a.literal_type if isinstance(a, Literal) else a for a in arguments]
        return super().get_call_template(plain, named)

    def _compile_for_args(self, *arguments: Any, **named: Any) -> Any:
        """Machine code for a call from Python."""
        return self.root("entry")._compile_for_args(*arguments, **named)


def part(function: Any, variant: str, options: dict[str, Any]) -> Kernel:
    """`function` as a part, kept on disk; `variant` says what it closed over."""
    made = Kernel(
        function, targetoptions=options | {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True},
        pipeline_class=PartCompiler,
    )  # fmt: skip
    made._cache, made.variant = _PartCache(function, variant), variant
    return made
