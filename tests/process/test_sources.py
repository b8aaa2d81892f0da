"""Which edit recompiles which kernels: all that it can reach, and no more (kernels/base/sources.py)."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dynq_numba as dq
from dynq_numba.kernels.base import sources

PACKAGE = Path(dq.__file__).parent
KERNELS = Path(sys.modules[sources.PACKAGE].__path__[0])
# Prints what every kernel's code is filed under, without compiling any.
FILED = """
import json
from dynq_numba.kernels.base import sources
from dynq_numba.kernels.linear import call, weights
from dynq_numba.kernels.gemm.post_ops import post_ops_of
from dynq_numba import operators  # whose rows the table is made of
from dynq_numba.runtime import kernel_table

found = {f"{key[0]} {key[1].name} {key[2]}": kernel.worker() for key, kernel in kernel_table.kernels().items()}
found |= {"call": call.entry, "quantize_weight": weights.quantize_weight, "search_groups": weights.search_groups}
for name in ("gelu", "relu"):
    found[f"post_ops {name}"] = post_ops_of(name, None, residual=False)
print(json.dumps({name: sources.digest(sources.modules_of(kernel.py_func)) for name, kernel in found.items()}))
"""
# Compiles one kernel, and prints which files of the package ran (emitters) or were compiled meanwhile.
REACHED = """
import json, sys, threading
from numba.core import event
from dynq_numba.kernels.base import sources
from dynq_numba.kernels.base.jit import compiled
from dynq_numba.kernels.gemm.post_ops import post_ops_of
from dynq_numba.kernels.base.memory import POST_OPS_SIGNATURE, WORKER_SIGNATURE
from dynq_numba import operators
from dynq_numba.runtime import isa, kernel_table

files = set()
class Listener(event.Listener):
    def on_start(self, event): files.add(event.data["dispatcher"].py_func.__code__.co_filename)
    def on_end(self, event): pass
event.register("numba:compile", Listener())

operation = sys.argv[1]
if operation == "post_ops":
    kernel = post_ops_of("gelu", None, residual=True)
    signature = POST_OPS_SIGNATURE
else:
    kernel, signature = kernel_table.kernel_for(operation, isa.active()).worker(), WORKER_SIGNATURE
sys.setprofile(lambda frame, what, argument: files.add(frame.f_code.co_filename))
compiled(kernel, signature)
sys.setprofile(None)
print(json.dumps([sorted(files), sorted(sources.modules_of(kernel.py_func, *signature))]))
"""


def child(code, *arguments, **environment):
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def file_of(module):
    inside = module.removeprefix(sources.PACKAGE).removeprefix(".").replace(".", "/")
    path = KERNELS / f"{inside}.py"
    return path if inside and path.exists() else KERNELS / inside / "__init__.py"


def test_imports_are_read_as_the_parser_reads_them():
    """What the regular expression finds in every source, beside the syntax tree."""
    for module in sources._SOURCES:
        parts = module.split(".")
        is_package = file_of(module).name == "__init__.py"
        wanted = {".".join(parts[:i]) for i in range(1, len(parts))}
        for node in ast.walk(ast.parse(file_of(module).read_text())):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith(sources.PACKAGE.split(".")[0]) for alias in node.names), module
            elif isinstance(node, ast.ImportFrom) and node.level:
                above = parts[: len(parts) - node.level + is_package]
                base = ".".join([*above, node.module] if node.module else above)
                wanted |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        known = set(sources._SOURCES)
        assert wanted & known == set(sources._imported(module)) & known, module


@pytest.fixture(scope="module")
def edit(tmp_path_factory):
    """All kernels of a copy of the package, and those that an edit of the file of that name files elsewhere."""
    folder, ignored = tmp_path_factory.mktemp("package"), shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / "dynq_numba", ignore=ignored)
    shutil.copytree(KERNELS, folder / "dynq_numba" / "kernels", ignore=ignored, dirs_exist_ok=True)
    environment = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    before = child(FILED, **environment)

    def edited(name):
        (path,) = (folder / "dynq_numba" / "kernels").glob(f"**/{name}")
        text = path.read_text()
        path.write_text(text + "# edited\n")
        after = child(FILED, **environment)
        path.write_text(text)
        return set(before), {name for name in before if before[name] != after[name]}

    return edited


LINEARS = ("linear", "linear_long")
SCONVS = ("sconv", "sconv_depthwise", "sconv_winograd", "sconv_winograd_4")


def those(*operations):
    """Kernels of these operations; a name is "operation scheme set"."""
    return lambda name: name.split()[0] in operations


@pytest.mark.parametrize(
    "edited, touched",
    [
        ("jit.py", lambda name: True),
        ("emit_columns.py", those("matmul", "matmul_long", "sgemm")),
        ("attention/context.py", those("attention", "attention_int8")),
        ("conv/patches.py", those("conv", *SCONVS, "pooling", "global_pooling")),
        ("emit_rotation.py", those("call")),
        ("post_ops.py", those("post_ops")),
        ("weights.py", those("quantize_weight", "search_groups")),
        ("view.py", lambda name: False),
    ],
)
def test_an_edit_misses_what_it_can_reach_and_no_more(edit, edited, touched):
    every, missed = edit(edited)
    assert missed == {name for name in every if touched(name)}


def test_an_edit_of_an_instruction_set_leaves_linears_of_others_alone(edit):
    every, missed = edit("vnni.py")
    on = {name.split()[-1] for name in missed if those(*LINEARS)(name)}
    assert on == {"amx", "avx512vnni", "avxvnni"} and on < {name.split()[-1] for name in every}


@pytest.mark.parametrize("operation", ["quantize", "post_ops"])
def test_what_runs_or_is_compiled_with_a_kernel_is_behind_it(tmp_path, operation):
    """Beside what the interpreter and numba saw, in a process that finds nothing compiled."""
    ran, behind = child(REACHED, operation, NUMBA_CACHE_DIR=str(tmp_path), DYNQ_ISA="portable", DYNQ_SELF_CHECK="0")
    own = {Path(file) for file in ran if KERNELS in Path(file).parents}
    assert len(own) > 5 and own <= {file_of(module) for module in behind}
