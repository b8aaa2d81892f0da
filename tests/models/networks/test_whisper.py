"""Whisper as three ONNX files (examples/whisper_onnx.py), of tiny sizes; what examples/whisper.py does around them."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import wave

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_models import in_onnxruntime, same

from bench.topics.whisper import errors
from dynq_numba.onnx import InferenceSession, quantize
from examples import whisper
from examples.fetch import FetchError, Progress
from examples.whisper_onnx import FILES, TYPES, export, read_weights

LAYERS, WIDTH, HEADS, BANDS, FRAMES, PLACES, WORDS = 2, 64, 2, 8, 12, 16, 40


def variables() -> dict[str, np.ndarray]:
    """Random weights, as CTranslate2 names and joins them."""
    shapes: dict[str, tuple[int, ...]] = {
        "encoder/conv1/weight": (WIDTH, BANDS, 3), "encoder/conv2/weight": (WIDTH, WIDTH, 3),
        "encoder/conv1/bias": (WIDTH,), "encoder/conv2/bias": (WIDTH,),
        "encoder/position_encodings/encodings": (FRAMES, WIDTH), "decoder/embeddings/weight": (WORDS, WIDTH),
        "decoder/position_encodings/encodings": (PLACES, WIDTH),
    }  # fmt: skip
    for side, attentions in (("encoder", ["self_attention"]), ("decoder", ["self_attention", "attention"])):
        norms = [f"{side}/layer_norm"]
        for layer in (f"{side}/layer_{i}" for i in range(LAYERS)):
            linears = {"ffn/linear_0": (4, 1), "ffn/linear_1": (1, 4)}
            linears |= {"self_attention/linear_0": (3, 1), "self_attention/linear_1": (1, 1)}
            if "attention" in attentions:
                linears |= {"attention/linear_0": (1, 1), "attention/linear_1": (2, 1), "attention/linear_2": (1, 1)}
            for name, (outputs, inputs) in linears.items():
                shapes[f"{layer}/{name}/weight"] = (outputs * WIDTH, inputs * WIDTH)
                shapes[f"{layer}/{name}/bias"] = (outputs * WIDTH,)
            norms += [f"{layer}/{part}/layer_norm" for part in ("ffn", *attentions)]
        shapes |= {f"{norm}/{part}": (WIDTH,) for norm in norms for part in ("gamma", "beta")}
    rng = np.random.default_rng(0)
    made = {name: rng.standard_normal(shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}
    made |= {f"{side}/num_heads": np.array(HEADS, np.int16) for side in ("encoder", "decoder")}
    return {name: array if array.dtype == np.int16 else array.astype(np.float16) for name, array in made.items()}


def write_container(path, arrays: dict[str, np.ndarray], kind: str = "WhisperSpec") -> None:
    def name(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    parts = [struct.pack("<I", 6), name(kind), struct.pack("<II", 3, len(arrays))]
    for each, array in arrays.items():
        code = [np.dtype(one) for one in TYPES].index(array.dtype)
        parts += [name(each), struct.pack(f"<B{array.ndim}IBI", array.ndim, *array.shape, code, array.nbytes)]
        parts.append(array.tobytes())
    other = name("decoder/projection/weight") + name("decoder/embeddings/weight")
    path.write_bytes(b"".join([*parts, struct.pack("<I", 1), other]))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, onnx.ModelProto]:
    path = tmp_path_factory.mktemp("whisper") / "model.bin"
    write_container(path, variables())
    made = export(read_weights(path))
    for model in made.values():
        onnx.checker.check_model(model, full_check=True)
    return made


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((1, BANDS, 2 * FRAMES)).astype(np.float32)


def sessions(models, **options) -> dict:
    return {name: InferenceSession(model, **options) for name, model in models.items()}


def past_of(runs, outputs: list[np.ndarray]) -> dict[str, np.ndarray]:
    names = [output.name.replace("present", "past_key_values") for output in runs["decoder"].get_outputs()[1:]]
    return dict(zip(names, outputs[1:], strict=True))


def test_another_file_is_refused(tmp_path):
    write_container(tmp_path / "other.bin", {}, "TransformerSpec")
    with pytest.raises(ValueError, match="must be a WhisperSpec"):
        read_weights(tmp_path / "other.bin")


def test_float32_is_that_of_another_runtime(models, features):
    runs = sessions(models)
    (states,) = runs["encoder"].run(None, {"input_features": features})
    assert np.abs(states - in_onnxruntime(models["encoder"], {"input_features": features})[0]).max() < 1e-5
    prompt = {"input_ids": np.array([[3, 1, 4]]), "encoder_hidden_states": states}
    first = runs["decoder"].run(None, prompt)
    step = {"input_ids": np.array([[7]])} | past_of(runs, first)
    for name, feeds in (("decoder", prompt), ("decoder_with_past", step)):
        ours, theirs = runs[name].run(None, feeds), in_onnxruntime(models[name], feeds)
        assert [a.shape for a in ours] == [b.shape for b in theirs]
        assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("int8", [False, True])
def test_steps_have_the_bits_of_a_prompt_and_no_python(models, features, int8):
    if int8:
        receipts = {name: quantize(model, recipe=whisper.RECIPES[name]) for name, model in models.items()}
        models = {name: ir.to_proto(receipt.model) for name, receipt in receipts.items()}
    runs = sessions(models)
    (states,) = runs["encoder"].run(None, {"input_features": features})
    words = [3, 1, 4, 1, 5, 9]
    whole = runs["decoder"].run(None, {"input_ids": np.array([words]), "encoder_hidden_states": states})
    found = runs["decoder"].run(None, {"input_ids": np.array([words[:2]]), "encoder_hidden_states": states})
    past, logits = past_of(runs, found), [*found[0][0]]
    growing = [name for name in past if ".decoder." in name]
    for word in words[2:]:
        (row,), *caches = runs["decoder_with_past"].run(None, {"input_ids": np.array([[word]]), **past})
        logits += [*row]
        past.update(zip(growing, caches, strict=True))
    assert same(np.array(logits), whole[0][0]) and np.abs(whole[0]).max() > 0
    assert all(same(past[name], array) for name, array in past_of(runs, whole).items())
    assert all(step.kernel != "python" for run in runs.values() for step in run.report())


def test_int8_is_near_float32(models, features):
    receipts = {name: quantize(model, recipe=whisper.RECIPES[name]) for name, model in models.items()}
    assert not any(entry.reason for receipt in receipts.values() for entry in receipt.kept if "linear" in entry.node)
    want = InferenceSession(models["encoder"]).run(None, {"input_features": features})[0]
    found = InferenceSession(receipts["encoder"].model).run(None, {"input_features": features})[0]
    assert 0 < np.linalg.norm(found - want) / np.linalg.norm(want) < 0.05


# -- sound --------------------------------------------------------------------------------------
def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def write_wav(path, sound: np.ndarray, rate: int, width: int) -> None:
    """Sound [samples, channels] from -1 to 1."""
    whole = np.rint(sound * (2 ** (8 * width - 1) - 1)).astype(np.int64) + (128 if width == 1 else 0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(whole.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width].tobytes())


@pytest.mark.parametrize("rate,width,channels", [(16000, 1, 1), (16000, 2, 1), (22050, 3, 2), (8000, 4, 1)])
def test_every_wav_of_whole_numbers_is_read(tmp_path, rate, width, channels):
    write_wav(tmp_path / "a.wav", np.stack([tone(440, rate)] * channels, axis=1), rate, width)
    sound = whisper.read_wav(tmp_path / "a.wav")
    assert sound.dtype == np.float32 and len(sound) == 16000
    assert np.abs(sound - tone(440, 16000))[200:-200].max() < 0.01  # a tone that ends suddenly rings at its ends


def test_what_is_no_wav_is_refused(tmp_path, capsys):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    assert whisper.main([str(tmp_path / "a.wav")]) == 1
    assert whisper.main([str(tmp_path / "missing.wav")]) == 1
    errors = capsys.readouterr().err
    assert "a.wav must be a WAV file" in errors and "missing.wav" in errors and "Traceback" not in errors


def test_features_are_the_mean_loudness_of_bands():
    """By a Fourier transform of its own, in float64, at some moments."""
    sound = tone(1000, 16000, 2.0) + 0.1 * np.random.default_rng(0).standard_normal(32000)
    found = whisper.log_mel(sound.astype(np.float32))
    assert found.shape == (1, 80, 3000) and found.dtype == np.float32
    padded = np.concatenate([sound[200:0:-1], sound, np.zeros(16000)])
    times, window = np.arange(400), 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(201), times) / 400)
    places = [0, 1, 50, 120, 199, 250]
    power = np.abs([waves @ (window * padded[160 * at : 160 * at + 400]) for at in places]) ** 2
    loud = np.log10(np.maximum(power @ whisper.mel_filters().astype(np.float64).T, 1e-10))
    most = 4 * found.max() - 4
    want = (np.maximum(loud, most - 8) + 4) / 4
    assert np.abs(found[0, :, places] - want).max() < 1e-4
    assert found[0, :, 50].argmax() == 26  # Slaney's mels: 1000 Hz is the 15th of 45.2 in 81 steps


def test_a_long_recording_is_cut_where_it_is_quiet():
    sound = np.random.default_rng(0).standard_normal(70 * 16000).astype(np.float32)
    sound[28 * 16000 : 29 * 16000] = 0
    parts = list(whisper.pieces(sound))
    assert same(np.concatenate(parts), sound) and 28 <= len(parts[0]) / 16000 <= 29
    assert all(len(part) <= 30 * 16000 for part in parts) and len(parts) == 3
    assert list(whisper.pieces(sound[:0])) == []


def test_words_become_text(tmp_path):
    spelt = {"Ġcaf": 0, "Ã©": 1, "!": 2, "<|endoftext|>": 50256}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": spelt}}), "utf-8")
    assert whisper.Words(tmp_path / "tokenizer.json").text([0, 1, 2]) == "café!"


@pytest.mark.parametrize("found,wanted,count", [
    ("The boat, left!", "the boat left", (0, 3)), ("a b c", "a x c d", (2, 4)), ("", "one two", (2, 2)),
    ("one too many words", "one many", (2, 2)), ("b a", "a b", (2, 2)),
])  # fmt: skip
def test_word_errors_are_counted(found, wanted, count):
    assert errors(found, wanted) == count


# -- the trained model --------------------------------------------------------------------------
def test_speech_is_understood(tmp_path):
    if shutil.which("espeak-ng") is None:
        pytest.skip("there is no espeak-ng to speak")
    text = "Please send me the report before Friday. I would like to read it on the train."
    subprocess.run(["espeak-ng", "-w", tmp_path / "a.wav", text], check=True)
    try:
        files = whisper.model_files(int8=True, progress=Progress(quiet=True))
    except FetchError as error:
        pytest.skip(f"whisper cannot be fetched: {error}")
    folder = files["encoder"].parent
    model = whisper.Whisper([InferenceSession(files[name]) for name in FILES], folder / "config.json")
    numbers = model.decode(model.encode(whisper.log_mel(whisper.read_wav(tmp_path / "a.wav"))))
    assert whisper.Words(folder / "tokenizer.json").text(numbers) == text
