"""Memory of large ONNX models: the most that quantizing, opening and running one takes, and what 8 processes share.

    python -m bench memory [--gigabytes 3] [--folder /tmp] [--processes 8]

Writes a model of random weights (an embedding and linears, in two files beside it) into the folder and removes it
again; that takes two thirds more room than the model has. Each figure is of a process of its own:

``peak``       the most memory that was resident at one time, file pages included (VmHWM)
``of files``   how much of what was resident in the end are pages of files, which processes share and the system may
               take back (RssFile)
``PSS``        what a process has for itself, and its part of what it shares with others (Pss)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.publish.tables import aligned

MB = 1 << 20
#: Of the model: width, and the rows of a linear in widths.
WIDTH, WIDER = 4096, 2


def write_model(folder: Path, nbytes: int, width: int = WIDTH) -> tuple[Path, list[int]]:
    """A model of about so many bytes: a table of a quarter, then linears up and down. And the bytes of its tensors."""
    import onnx
    from onnx import TensorProto, helper

    layer = 4 * width * width * WIDER
    shapes = {"words": (nbytes // 4 // (4 * width), width)}
    for i in range(max(2, (nbytes - nbytes // 4) // layer)):
        shapes[f"w{i}"] = (width, WIDER * width) if i % 2 == 0 else (WIDER * width, width)
    names = list(shapes)
    nodes = [helper.make_node("Gather", ["words", "ids"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{i}", name], [f"x{i + 1}"]) for i, name in enumerate(names[1:])]
    tensors, rng = [], np.random.default_rng(0)
    part = rng.standard_normal(1 << 20, np.float32) / np.float32(width**0.5)
    files = [(folder / f"weights.{i}").open("wb") for i in range(2)]
    for i, (name, shape) in enumerate(shapes.items()):
        file, size = files[i % 2], 4 * shape[0] * shape[1]
        tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", Path(file.name).name), ("offset", file.tell()), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        for begin in range(0, size, part.nbytes):
            file.write(np.roll(part, begin // part.nbytes + i).tobytes()[: size - begin])
        tensors.append(tensor)
    for file in files:
        file.close()
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    y = helper.make_tensor_value_info(f"x{len(names) - 1}", TensorProto.FLOAT, ["n", tensors[-1].dims[1]])
    graph = helper.make_graph(nodes, "large", [ids], [y], tensors)
    path = folder / "large.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path, [4 * a * b for a, b in shapes.values()]


def memory(name: str, file: str = "status") -> float:
    """MB of this process, as the system counts them."""
    for line in Path(f"/proc/self/{file}").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/{file} has no {name}")


def child(task: str, *paths: str) -> dict[str, Any]:
    """Do a task in this process; what it took."""
    begun = time.monotonic()
    import dynq_numba as dq

    if task == "import":
        import onnx  # noqa: F401

        from dynq_numba.onnx import InferenceSession  # noqa: F401
    elif task == "quantize":
        dq.onnx.quantize(paths[0], paths[1])
    else:
        cache = paths[1] if task == "run" and len(paths) > 1 else None
        session = dq.onnx.InferenceSession(paths[0], threads=1, weight_cache=cache)
        if task != "open":
            session.run(None, {"ids": np.arange(4)})
    taken = {"seconds": time.monotonic() - begun, "peak": memory("VmHWM"), "of files": memory("RssFile")}
    if task == "run":
        print("ready", flush=True)
        sys.stdin.readline()
        taken["PSS"] = memory("Pss", "smaps_rollup")
    if task == "fork":
        taken["PSS"] = forked(session, int(paths[1]))
    return taken


def forked(session: Any, count: int) -> float:
    """PSS of one of so many processes that were forked from this one, when all have run the model."""
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(count), context.SimpleQueue()

    def work() -> None:
        session.run(None, {"ids": np.arange(4)})
        barrier.wait()
        mine = memory("Pss", "smaps_rollup")
        barrier.wait()
        found.put(mine)

    workers = [context.Process(target=work) for _ in range(count)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    return float(np.mean([found.get() for _ in workers]))


def start(task: str, *paths: Path | str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench", "memory", "--child", task, *map(str, paths)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def together(task: str, count: int, *paths: Path | str) -> dict[str, Any]:
    """What one of so many processes takes while all of them have done a task and are still there."""
    children = [start(task, *paths) for _ in range(count)]
    if task == "run":
        for each in children:
            assert each.stdout is not None
            each.stdout.readline()
    said = [each.communicate("\n")[0] for each in children]  # one after the other
    if any(each.returncode for each in children):
        raise RuntimeError(f"{task} of {paths[0]} failed")
    found: dict[str, Any] = json.loads(said[0].splitlines()[-1])
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench memory")
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        print(json.dumps(child(*options.child)))
        return 0
    rows = [["", "seconds", "peak MB", "of files", "PSS"]]

    def add(name: str, taken: dict[str, Any]) -> None:
        pss = f"{taken['PSS']:.0f}" if "PSS" in taken else ""
        rows.append([name, *(f"{taken[each]:.0f}" for each in ("seconds", "peak", "of files")), pss])

    with tempfile.TemporaryDirectory(prefix="dynq.memory.", dir=options.folder) as name:
        path, sizes = write_model(Path(name), int(options.gigabytes * 1e9))
        out, biggest = path.with_name("large.int8.onnx"), sorted(sizes)[-2:]
        whole, bound = sum(sizes) / MB, sum(biggest) / MB + 500
        print(f"{len(sizes)} tensors of {whole:.0f} MB; the largest two and 500 MB: {bound:.0f} MB")
        add("import", together("import", 1))
        add("quantize", quantized := together("quantize", 1, path, out))
        written = sum(each.stat().st_size for each in path.parent.glob("large.int8.onnx*")) / MB
        add("open the float model", together("open", 1, path))
        add(f"open the artifact of {written:.0f} MB", together("open", 1, out))
        add("run the artifact", together("run", 1, out))
        add(f"one of {options.processes} that run it", together("run", options.processes, out))
        kept = path.with_name("cache")
        add("run it, writing a weight cache", together("run", 1, out, kept))
        add("run it with the cache", together("run", 1, out, kept))
        add(f"one of {options.processes} that run it with the cache", together("run", options.processes, out, kept))
        add(f"one of {options.processes} forked from it", together("fork", 1, out, str(options.processes)))
        if options.gigabytes < 6:
            add("run the float model", together("run", 1, path))
    print(aligned(rows))
    fits = quantized["peak"] <= bound
    print(f"quantize: {quantized['peak']:.0f} of {bound:.0f} MB{'' if fits else ': TOO MUCH'}")
    return 0 if fits else 1
