"""What was said? Whisper tiny.en in int8 turns a recording of English speech into text.

    espeak-ng -w speech.wav "The boat left the harbour at noon."
    python examples/whisper.py speech.wav              # fetches the model (71 MB) and quantizes it on first use
    python examples/whisper.py --float speech.wav      # as it was trained, in float32
    python examples/whisper.py --times *.wav           # with what took how long

Sound becomes 80 bands of loudness, 100 times a second (numpy). Three ONNX files do the rest (whisper_onnx.py), each an
`InferenceSession`: an encoder looks at 30 seconds at once; a decoder reads the prompt, and gives the first word and
what it remembers; the other decoder takes a word and the memory, and gives the next word, until it says stop. The most
probable word is always taken. A longer recording is cut where it is quietest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynq_numba.onnx import InferenceSession, quantize

if __package__:  # imported as examples.whisper
    from .fetch import FetchError, Progress, fetch
    from .whisper_onnx import FILES, export, read_weights
else:  # run as a script
    from fetch import FetchError, Progress, fetch
    from whisper_onnx import FILES, export, read_weights

Array = NDArray[np.float32]

RATE, SECONDS, BANDS, WINDOW, HOP = 16_000, 30, 80, 400, 160
START, STOP, NO_TIMES = 50257, 50256, 50362  # words of the prompt, and the one that ends
MOST = 224  # words of a piece
SEARCH = 5 * RATE  # how far before its end a piece may be cut
#: A decoder has one row of queries: to round all keys and values for it takes longer than to multiply them as floats.
RECIPES: dict[str, Any] = {"encoder": {}, "decoder": {"attention": 32}, "decoder_with_past": {"attention": 32}}


# -- sound ------------------------------------------------------------------------------------------------------------
def read_wav(path: Path) -> Array:
    """Samples from -1 to 1, 16,000 a second: the mean of all channels."""
    try:
        with wave.open(str(path)) as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} must be a WAV file of whole numbers (PCM): {error}") from error
    if width == 3:  # has no type: a byte of zeros below makes it 32 bits
        data = np.pad(np.frombuffer(data, np.uint8).reshape(-1, 3), ((0, 0), (1, 0))).tobytes()
    samples = np.frombuffer(data, {1: "u1", 2: "<i2", 3: "<i4", 4: "<i4"}[width]).astype(np.float32)
    samples = samples / 128 - 1 if width == 1 else samples / 2 ** {2: 15, 3: 31, 4: 31}[width]
    return resampled(samples.reshape(-1, channels).mean(axis=1), rate)


def resampled(sound: Array, rate: int) -> Array:
    """The same at 16,000 samples a second; higher tones than those can carry are gone."""
    count = round(len(sound) * RATE / rate)
    if count == len(sound) or not count:
        return sound[:count]
    return (np.fft.irfft(np.fft.rfft(sound), count) * (count / len(sound))).astype(np.float32)


def pieces(sound: Array) -> Iterator[Array]:
    """At most 30 seconds each, cut in the middle of the quietest tenth of a second."""
    most, tenth = SECONDS * RATE, RATE // 10
    while len(sound) > most:
        loud = np.square(sound[most - SEARCH : most]).reshape(-1, tenth).sum(axis=1)
        cut = most - SEARCH + tenth * int(loud.argmin()) + tenth // 2
        yield sound[:cut]
        sound = sound[cut:]
    if len(sound):
        yield sound


def mel_filters() -> Array:
    """How much each frequency counts in each band [80, 201]: triangles of equal area, on Slaney's scale of pitch."""
    hertz = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    linear, bend, step = 200 / 3, 1000.0, np.log(6.4) / 27  # hertz per mel up to 1000 Hz, then logarithmic
    mels = np.linspace(0, bend / linear + np.log(RATE / 2 / bend) / step, BANDS + 2)
    corners = np.where(mels < bend / linear, mels * linear, bend * np.exp(step * (mels - bend / linear)))
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
    return (np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)).astype(np.float32)


def log_mel(sound: Array) -> Array:
    """Loudness [1, 80, 3000] of 30 seconds; silence follows a shorter piece."""
    padded = np.zeros(SECONDS * RATE + WINDOW, np.float32)
    padded[WINDOW // 2 : WINDOW // 2 + len(sound)] = sound
    padded[: WINDOW // 2] = padded[WINDOW : WINDOW // 2 : -1]  # mirrored
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: SECONDS * RATE : HOP]
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames * hann))).astype(np.float32)
    loudness = np.log10(np.maximum(mel_filters() @ power.T, 1e-10))
    return ((np.maximum(loudness, loudness.max() - 8) + 4) / 4)[None]


# -- words ------------------------------------------------------------------------------------------------------------
class Words:
    """Text of numbers of words: tokenizer.json of a byte-level BPE."""

    def __init__(self, path: Path) -> None:
        self.spelling = {number: word for word, number in json.loads(path.read_text("utf-8"))["model"]["vocab"].items()}
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that stand for themselves
        others = [byte for byte in range(256) if byte not in plain]
        self.byte = {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}

    def text(self, words: list[int]) -> str:
        spelt = "".join(self.spelling.get(word, "") for word in words)
        return bytes(self.byte[letter] for letter in spelt).decode("utf-8", "replace").strip()


# -- the model --------------------------------------------------------------------------------------------------------
def model_files(*, int8: bool, progress: Progress) -> dict[str, Path]:
    """The three files, made on first use beside the weights."""
    folder = fetch("whisper", progress)
    files = {name: folder / f"{name}{'.int8' if int8 else ''}.onnx" for name in FILES}
    if not all(path.exists() for path in files.values()):
        progress.step("making the three ONNX files")
        for name, model in export(read_weights(folder / "model.bin")).items():
            quantize(model, files[name], bits=8 if int8 else 32, recipe=RECIPES[name])
    return files


class Whisper:
    """Sessions of the three files, and what is not to be said."""

    def __init__(self, sessions: Sequence[Any], config: Path) -> None:
        self.encoder, self.first, self.step = sessions
        self.caches = [output.name.replace("present", "past_key_values") for output in self.first.get_outputs()[1:]]
        self.growing = [name for name in self.caches if ".decoder." in name]
        settings = json.loads(config.read_text())
        self.never, self.not_first = settings["suppress_ids"], settings["suppress_ids_begin"]

    def encode(self, features: Array) -> Array:
        return self.encoder.run(None, {"input_features": features})[0]

    def decode(self, states: Array) -> list[int]:
        """The most probable words, one after the other."""
        prompt = {"input_ids": np.array([[START, NO_TIMES]]), "encoder_hidden_states": states}
        logits, *caches = self.first.run(None, prompt)
        past = dict(zip(self.caches, caches, strict=True))
        words: list[int] = []
        logits[0, -1, self.not_first] = -np.inf
        while len(words) < MOST:
            logits[0, -1, self.never] = -np.inf
            word = int(logits[0, -1].argmax())
            if word == STOP:
                break
            words.append(word)
            logits, *caches = self.step.run(None, {"input_ids": np.array([[word]]), **past})
            past.update(zip(self.growing, caches, strict=True))
        return words


def main(argv: list[str] | None = None) -> int:
    """Print a transcript of each file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", nargs="+", type=Path, help="a WAV file, of any rate and number of channels")
    parser.add_argument("--float", action="store_true", help="in float32 instead of int8")
    parser.add_argument("--threads", type=int, metavar="N", help="of each session (default: as many as are worthwhile)")
    parser.add_argument("--times", action="store_true", help="print what took how long, too")
    parser.add_argument("--quiet", action="store_true", help="no progress, only transcripts")
    arguments = parser.parse_args(argv)
    progress = Progress(quiet=arguments.quiet)
    try:
        sounds = [read_wav(path) for path in arguments.audio]
        files = model_files(int8=not arguments.float, progress=progress)
        folder = files["encoder"].parent
        progress.step("compiling kernels, or loading them from disk")
        sessions = [InferenceSession(files[name], threads=arguments.threads) for name in FILES]
        model, words = Whisper(sessions, folder / "config.json"), Words(folder / "tokenizer.json")
        for path, sound in zip(arguments.audio, sounds, strict=True):
            transcribe(path if len(sounds) > 1 else None, sound, model, words, arguments.times, progress)
    except (FetchError, OSError, ValueError, KeyboardInterrupt) as error:
        progress.clear()
        print(f"error: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1
    return 0


def transcribe(path: Path | None, sound: Array, model: Whisper, words: Words, times: bool, progress: Progress) -> None:
    """Print what is said in a file."""
    said, spent, count = [], np.zeros(3), 0
    for piece in pieces(sound):
        moments = [time.perf_counter()]
        features = log_mel(piece)
        moments.append(time.perf_counter())
        states = model.encode(features)
        moments.append(time.perf_counter())
        numbers = model.decode(states)
        moments.append(time.perf_counter())
        said.append(words.text(numbers))
        spent += np.diff(moments)
        count += len(numbers)
    progress.clear()
    print(*([f"{path}:"] if path else []), " ".join(said))
    if times:
        mel, encoding, decoding = 1e3 * spent
        print(f"    {len(sound) / RATE:.1f} s of sound: features {mel:.0f} ms, encoder {encoding:.0f} ms,", end=" ")
        print(f"decoder {decoding:.0f} ms for {count} words")


if __name__ == "__main__":
    sys.exit(main())
