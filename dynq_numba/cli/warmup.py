"""``dynq warmup``: compile everything in advance."""

from __future__ import annotations

import argparse
import time

from .base import Command, arrays_of, positive, shape


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="ONNX models: compile what they need, only")
    parser.add_argument("--input", metavar="NPZ", help="an array for each input of the model (default: zeros)")
    parser.add_argument(
        "--shape", type=shape, action="append", default=[], metavar="NAME=1x128",
        help="of an input of the model: zeros of this shape; repeatable",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="print one line only")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="processes that compile at the same time")


def _run(args: argparse.Namespace) -> None:
    if args.models or args.input or args.shape:
        _models(args)
        return
    from ..kernels.base.jit import cache_directory
    from ..warming import warmup

    progress = None if args.quiet else lambda name: print(f"  {name}", flush=True)
    seconds = warmup(progress=progress, jobs=args.jobs)
    print(f"ready in {seconds:.1f} s; kernels are kept in {cache_directory() or 'memory only: no writable place'}")


def _models(args: argparse.Namespace) -> None:
    """Run each model once: that compiles its kernels and regions into the disk cache."""
    from ..kernels.base.jit import cache_directory
    from ..onnx import InferenceSession
    from ..onnx.feeds import OPEN
    from ..onnx.session import zeros_for

    if args.input and args.shape:
        raise ValueError("--input has the shapes already; give --shape without it")
    for option in ("input", "shape"):
        if getattr(args, option) and len(args.models) != 1:
            raise ValueError(f"--{option} is for one model; got {len(args.models)}")
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
        print(f"{path} ready in {seconds:.1f} s; kernels are kept in {cache_directory() or 'memory only'}")
        if guessed:
            print(f"lengths that the model leaves open were {OPEN}: {', '.join(guessed)}; --shape gives others")


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
