"""dynq doctor, dynq completion, dynq bench."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from onnx_models import parsed

import dynq_numba as dq
from dynq_numba import checkup
from dynq_numba.arguments.extras import EXTRAS
from dynq_numba.cli.main import COMMANDS, main
from dynq_numba.timing import rounds
from dynq_numba.timing.rounds import Timing, Timings


def test_doctor_tells_what_is_wrong_and_what_to_do(capsys):
    assert main(["doctor", "--no-measure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rates"] is None and [each["name"] for each in found["extras"]] == list(EXTRAS)
    states = {each["name"]: each["state"] for each in found["self_check"]}
    assert set(found["sets"]) <= set(states) and "wrong" not in states.values()
    cold = found | {"kernels_kept": 0}
    assert any(each["do"] == "dynq warmup" for each in checkup.advice(cold))
    nowhere = checkup.advice(found | {"cache": None})
    assert any("NUMBA_CACHE_DIR" in each["do"] for each in nowhere)
    slow = checkup.advice(found | {"sets": ["avx2", "portable"]})
    assert any("integer dot" in each["problem"] for each in slow)
    shared = found["core_counts"] | {"quota": 1.5, "threads": 8, "machine": 8, "load": 20.0}
    assert {"8 threads share 1.5 cores", "other programs keep 20.0 cores busy"} <= {
        each["problem"] for each in checkup.advice(found | {"core_counts": shared})
    }


def test_doctor_finds_a_set_that_computes_wrongly(capsys, monkeypatch):
    dq.linear(np.ones((3, 8), np.float32), dq.pack_linear(np.ones((4, 8), np.float32)))  # compiled
    monkeypatch.setattr(checkup, "linear", lambda x, w: np.zeros((x.shape[0], 70), np.float32))
    assert main(["doctor", "--no-measure"]) == 1
    out = capsys.readouterr().out
    assert "wrong" in out and "its layer is 100.0% off" in out and "report it" in out


def test_doctor_measures(capsys):
    assert main(["doctor", "--json"]) == 0
    assert all(rate > 1e8 for rate in json.loads(capsys.readouterr().out)["rates"].values())


def in_bash(script, words):
    code = f'{script}\nCOMP_WORDS=({" ".join(words)} ""); COMP_CWORD={len(words)}; _dynq; '
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_options_and_values(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    if shell == "zsh":  # bash has no autoload; the rest is the same
        assert script.startswith("#compdef dynq\n")
        script = "".join(line for line in script.splitlines(True) if not line.startswith("autoload"))
    if shutil.which("bash") is None:
        pytest.skip("bash is not here")
    assert {command.name for command in COMMANDS} <= in_bash(script, ["dynq"])
    assert {"--receipt", "--json", "-o"} <= in_bash(script, ["dynq", "quantize"])
    assert in_bash(script, ["dynq", "quantize", "model.onnx", "--bits"]) == {"8", "4", "32"}
    assert {"bash", "zsh", "fish"} <= in_bash(script, ["dynq", "completion"])


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_script(shell, capsys, tmp_path):
    assert main(["completion", shell]) == 0
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out)
    assert all(command.name in path.read_text() for command in COMMANDS)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    subprocess.run([shell, "-n", str(path)], check=True)


@pytest.fixture
def model(tmp_path):
    onnx = pytest.importorskip("onnx")
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    onnx.save(parsed("float[m, 64] x", "float[m, 32] y", "y = MatMul (x, w)", w=weight), tmp_path / "model.onnx")
    return str(tmp_path / "model.onnx")


def test_bench_times_a_model_beside_another_runtime(model, capsys, monkeypatch):
    monkeypatch.setattr(rounds, "find_spec", lambda name: None if name == "openvino" else name)
    command = ["bench", model, "--vs", "onnxruntime", "openvino", "--rounds", "2", "--rows", "3", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    ours, theirs, absent = found["timings"]
    assert found["rounds"] == 2 and "x 3×64" in found["data"] and "not real data" in found["data"]
    assert 0 < ours["least_ms"] <= ours["median_ms"] <= ours["most_ms"] and ours["ratio"] is None
    assert 0 < theirs["ratio_least"] <= theirs["ratio"] <= theirs["ratio_most"] and theirs["difference"] < 1e-5
    assert absent["median_ms"] is None and absent["why"] == "it is not installed: pip install openvino"


def test_bench_says_where_rounds_disagree():
    ours = Timing("dynq", "m", 1.0, 0.9, 1.1, 5.0)
    unclear = Timing("onnxruntime", "m", 1.0, 0.8, 1.3, 5.0, 1.02, 0.9, 1.2, 0.0)
    clear = Timing("openvino", "m", 2.0, 1.9, 2.1, 5.0, 2.0, 1.8, 2.2, 0.0)
    text = str(Timings([ours, unclear, clear], 2, 5, "data"))
    assert "onnxruntime: no clear difference: rounds disagree" in text and "openvino: 2.00 × the time of ours" in text


def test_what_a_peer_cannot_run_is_told(model, tmp_path, capsys):
    (tmp_path / "other.onnx").write_bytes(b"nothing")
    given = ["--vs", "onnxruntime", "--vs-model", str(tmp_path / "other.onnx"), "--rounds", "1"]
    assert main(["bench", model, *given]) == 0
    assert "onnxruntime: " in capsys.readouterr().out
