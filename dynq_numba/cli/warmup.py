"""``dynq warmup``: compile everything in advance."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..arguments.errors import UsageError
from .base import Answer, Command, arrays_of, positive, shape


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="ONNX models: compile what they need, only")
    parser.add_argument("--input", metavar="NPZ", help="an array for each input of the model (default: zeros)")
    parser.add_argument(
        "--shape", type=shape, action="append", default=[], metavar="NAME=1x128",
        help="of an input of the model: zeros of this shape; repeatable",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="print one line only")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="processes that compile at the same time")


def _run(args: argparse.Namespace) -> Answer:
    if args.models or args.input or args.shape:
        return _models(args)
    from ..kernels.base.jit import cache_directory
    from ..warming import warmup

    progress = None if args.quiet else lambda name: print(f"  {name}", flush=True)
    seconds, place = warmup(progress=progress, jobs=args.jobs), cache_directory()
    text = f"ready in {seconds:.1f} s; kernels are kept in {place or 'memory only: no writable place'}"
    return Answer({"seconds": seconds, "cache": place and str(place)}, text)


def _models(args: argparse.Namespace) -> Answer:
    """Run each model once: that compiles its kernels and regions into the disk cache."""
    from ..kernels.base.jit import cache_directory
    from ..onnx import InferenceSession
    from ..onnx.feeds import OPEN
    from ..onnx.session import zeros_for

    place = cache_directory()
    data: dict[str, Any] = {"models": [], "cache": place and str(place)}
    if args.input and args.shape:
        raise UsageError("--input has the shapes already; give --shape without it")
    for option in ("input", "shape"):
        if getattr(args, option) and len(args.models) != 1:
            raise UsageError(f"--{option} is for one model; got {len(args.models)}")
    for path in args.models:
        begun = time.perf_counter()
        session = InferenceSession(path)
        feeds, guessed = (arrays_of(args.input), []) if args.input else zeros_for(session, dict(args.shape))
        try:
            session.run(None, feeds)
        except ValueError as error:
            if args.input:
                raise
            raise ValueError(f"{path} does not run on zeros; give --shape or --input: {error}") from error
        seconds = time.perf_counter() - begun
        data["models"].append({"model": path, "seconds": seconds, "guessed": guessed})
        print(f"{path} ready in {seconds:.1f} s; kernels are kept in {place or 'memory only'}", flush=True)
        if guessed:
            print(f"lengths that the model leaves open were {OPEN}: {', '.join(guessed)}; --shape gives others")
    return Answer(data, "")


WARMUP = Command(
    "warmup", "compile every kernel ahead, into the disk cache",
    (
        ("dynq warmup", "everything, as in a container's build"),
        ("dynq warmup --quiet", "the same, without the list"),
        ("dynq warmup --jobs 4", "in four processes at the same time"),
        ("dynq warmup model.int8.onnx", "what this model needs, only"),
        ("dynq warmup model.int8.onnx --shape input_ids=1x128", "for inputs of these lengths"),
    ),
    _arguments, _run,
)  # fmt: skip
