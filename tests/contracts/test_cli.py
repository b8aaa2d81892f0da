"""The command `dynq`: plain text, JSON, one line for what goes wrong, a file for each command."""

import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiers
from children import child

import dynq_numba as dq
from dynq_numba import cli
from dynq_numba.arguments.errors import UnsupportedModelError, UsageError
from dynq_numba.arguments.extras import EXTRAS, needed, pip_line
from dynq_numba.cli.main import COMMANDS, as_json, main, parser_of
from dynq_numba.cli.status import MEANING, Status

FOLDER = Path(cli.__file__).parent
ROOT = FOLDER.parents[1]
#: What is in cli/ beside a file for each command.
SHARED = {"__init__", "base", "main", "reports", "status"}
each = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def status_of(arguments):
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


def failing(arguments, capsys):
    """(status, the line) of a command line that is refused."""
    status = status_of(arguments)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("dynq") and err.endswith("\n") and err.count("\n") == 1, (out, err)
    return status, err


def test_every_command_is_a_file():
    files = {path.stem for path in FOLDER.glob("*.py")} - SHARED
    assert {command.name for command in COMMANDS} == files
    assert all(len((FOLDER / f"{name}.py").read_text().splitlines()) < 100 for name in files)


@each
def test_its_help_has_examples_that_are_right(command, capsys):
    assert status_of([command.name, "--help"]) == 0
    text = capsys.readouterr().out
    assert command.summary[1:20] in text and "--json" in text and command.examples
    assert max(map(len, text.splitlines())) <= 80
    for line, what in command.examples:
        assert re.search(rf"^  {re.escape(line)}\s+{re.escape(what)}$", text, re.MULTILINE)
        words = shlex.split(line.partition(" > ")[0])
        assert words[:2] == ["dynq", command.name]
        assert parser_of().parse_args(words[1:]).run is command.run


def test_help_lists_all_of_it(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(command.examples[0][0] in text and command.name in text for command in COMMANDS)
    assert all(f"{status:5d}  {meaning}\n" in text for status, meaning in MEANING.items())
    assert max(map(len, text.splitlines())) <= 80


def test_help_imports_nothing_slow():
    code = "import sys; from dynq_numba.cli import main; main([]); print(sorted(sys.modules), file=sys.stderr)"
    done = child("-c", code)
    assert done.returncode == 0
    assert not [name for name in ("numba", "llvmlite", "onnx", "onnx_ir", "jinja2") if f"'{name}'" in done.stderr]


@each
def test_an_option_that_there_is_not_is_one_line_and_status_2(command, capsys):
    status, err = failing([command.name, "--swim"], capsys)
    assert status == Status.USAGE and f"see dynq {command.name} --help" in err


@each
def test_a_file_that_is_not_there_is_one_line(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [shlex.split(line.partition(" > ")[0]) for line, _ in command.examples]
    for words in (words for words in lines if any(Path(word).suffix for word in words)):
        status, err = failing(words[1:], capsys)
        named = any(word in err for word in words[2:] if Path(word).suffix)
        assert status != 0 and (named or (tiers.missing("report") and "--report needs" in err)), words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("line", "told"), [
    ("swim", "swim"), ("warmup --jobs 0", "positive integer; got '0'"), ("warmup --jobs x", "'x'"),
    ("warmup --jobs 2 --swim", "--swim"), ("inspect", "FILE"), ("info --what", "--what"), ("--what", "--what"),
])  # fmt: skip
def test_a_wrong_command_line_is_one_line_and_status_2(line, told, capsys):
    status, err = failing(line.split(), capsys)
    assert status == Status.USAGE and told in err and "--help" in err


def test_a_failure_is_one_line_and_status_1(tmp_path, capsys, monkeypatch):
    status, err = failing(["inspect", str(tmp_path / "nothing")], capsys)
    assert status == Status.FAIL and "No such file" in err and str(tmp_path) in err
    (tmp_path / "other").write_text("# A heading\n")
    status, err = failing(["inspect", str(tmp_path / "other")], capsys)
    assert status == Status.FAIL and "safetensors" in err
    monkeypatch.setattr(sys, "executable", "/bin/false")
    status, err = failing(["warmup", "--quiet", "--jobs", "2"], capsys)
    assert status == Status.FAIL and "jobs=2" in err


@pytest.mark.parametrize(("error", "status"), [
    (KeyboardInterrupt(), 130), (UsageError("two"), 2), (UnsupportedModelError("three"), 3), (ValueError("one"), 1),
    (MemoryError(), 1),
])  # fmt: skip
def test_each_kind_of_error_has_its_status(error, status, capsys, monkeypatch):
    def wrong(path):
        raise error

    monkeypatch.setattr("dynq_numba.inspection.inspect", wrong)
    told = "interrupted" if status == 130 else str(error) or type(error).__name__
    assert failing(["inspect", "x"], capsys) == (status, f"dynq: {told}\n")


def test_an_interrupt_ends_it_cleanly():
    code = "import time; import dynq_numba.inspection as i\n"
    code += "i.inspect = lambda path: (print('on', flush=True), time.sleep(60))\n"
    code += "import sys; from dynq_numba.cli import main; sys.exit(main(['inspect', 'x']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          cwd=ROOT) as process:  # fmt: skip
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "dynq: interrupted\n")


def test_an_operator_that_nobody_computes_is_status_3(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 21, "far.away": 1]> m (float[2] x) => (float[2] y) { y = far.away.Odd (x) }'
    )
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.zeros(2, np.float32))
    status, err = failing(["run", str(tmp_path / "m.onnx"), "--input", str(tmp_path / "x.npz")], capsys)
    assert status == Status.UNSUPPORTED and "far.away.Odd" in err


@pytest.fixture
def file(tmp_path):
    """Weights under a long name."""
    path = tmp_path / "weights.safetensors"
    dq.save(path, {"encoder/layer.0/attention/self/query/MatMul": dq.pack_linear(np.eye(4, 64, dtype=np.float32)),
                   "encoder/layer.0/attention/output/dense/LayerNorm/weight": np.ones(6, np.float32)})  # fmt: skip
    return path


def test_json_is_all_there_is_on_standard_output(file, capsys):
    assert main(["inspect", str(file), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert [each["nbytes"] for each in found["entries"]] == [72, 24] or len(found["entries"]) == 2
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["set"] == dq.current_isa()


def test_what_is_no_number_of_json_is_null():
    data = {"a": [float("nan"), 1.5], 2: (float("inf"), -float("inf"))}
    assert json.loads(as_json(data)) == {"a": [None, 1.5], "2": [None, None]}


def on_a_terminal(arguments, columns, **environment):
    """What a command writes to a terminal."""
    reader, writer = pty.openpty()
    given = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    given |= {"TERM": "xterm", "PYTHONPATH": str(ROOT)} | environment
    code = "import fcntl, struct, termios\n"
    code += f"fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, {columns}, 0, 0))\n"
    code += f"import sys; from dynq_numba.cli import main; sys.exit(main({arguments!r}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=writer, env=given) as process:
        os.close(writer)
        found = io.BytesIO()
        try:
            while part := os.read(reader, 4096):
                found.write(part)
        except OSError:  # its end
            pass
        os.close(reader)
    assert process.returncode == 0
    return found.getvalue().decode().replace("\r\n", "\n")


def test_tables_fit_a_terminal_and_are_whole_in_a_pipe(file):
    name = "encoder/layer.0/attention/self/query/MatMul"
    bold = re.compile(r"\033\[[01]m")
    for columns in (60, 80, 200):
        shown = on_a_terminal(["inspect", str(file)], columns)
        assert bold.search(shown)
        lines = bold.sub("", shown).splitlines()[1:]  # the first is the path
        assert len(lines) == 3 and max(map(len, lines)) <= columns and (name in shown) == (columns == 200)
        assert ("…" in shown) == (columns != 200)
    assert "\033" not in on_a_terminal(["inspect", str(file)], 80, NO_COLOR="1")
    assert "\033" not in on_a_terminal(["inspect", str(file)], 80, TERM="dumb")
    piped = child("-m", "dynq_numba", "inspect", str(file)).stdout
    assert "\033" not in piped and name in piped and "…" not in piped


def test_a_reader_may_go_away():
    done = child("-m", "dynq_numba", "info")
    assert done.returncode == 0 and "\x1b" not in done.stdout and done.stderr == "" and dq.__version__ in done.stdout
    code = (
        "import os, subprocess, sys\n"
        "reader, writer = os.pipe()\n"
        "os.close(reader)\n"
        "run = subprocess.run([sys.executable, '-m', 'dynq_numba', 'info'], stdout=writer, stderr=subprocess.PIPE)\n"
        "print(run.returncode, run.stderr.decode(), end='')"
    )
    assert child("-c", code).stdout == "1 "


def test_extras_are_those_of_pyproject():
    import tomllib

    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) <= set(given) and EXTRAS["onnx"].modules == ("onnx", "onnx_ir")


def test_what_an_extra_brings_is_told_by_its_pip_line():
    with pytest.raises(ImportError) as caught, needed("report", "a report"):
        import no_such_module  # noqa: F401
    assert str(caught.value) == "a report needs no_such_module: pip install 'dynq-numba[report]'"
    assert pip_line("gate") == "pip install 'dynq-numba[gate]'"


def test_the_page_has_the_exit_statuses():
    page = (ROOT / "docs/reference/command-line.md").read_text()
    assert all(f"\n| {status:d} | {meaning} |\n" in page for status, meaning in MEANING.items())
