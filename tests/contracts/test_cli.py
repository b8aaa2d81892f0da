"""The command `dynq`: plain text, one line for what goes wrong, a file for each command."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from children import child

import dynq_numba as dq
from dynq_numba import cli
from dynq_numba.cli.main import COMMANDS

FOLDER = Path(cli.__file__).parent
each = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def failing(arguments, capsys):
    """(status, the line) of a command line that is refused."""
    try:
        status = cli.main(arguments)
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("dynq") and err.endswith("\n") and err.count("\n") == 1, (out, err)
    return status, err


def test_every_command_is_a_file():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "base", "main"}
    assert {command.name for command in COMMANDS} == files
    assert all(len((FOLDER / f"{name}.py").read_text().splitlines()) < 80 for name in files)


@each
def test_its_help_has_examples_that_are_right(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command.name, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and command.summary[1:20] in text
    for line, what in command.examples:
        assert re.search(rf"{re.escape(line)} +{re.escape(what)}", text)
        words = shlex.split(line)
        assert words[:2] == ["dynq", command.name]
        parsed = cli.main.__globals__["_parser"]().parse_args(words[1:])
        assert parsed.run is command.run


def test_help_lists_all_of_it(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert all(line in text for command in COMMANDS for line, _ in command.examples)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(("line", "told"), [
    ("swim", "swim"), ("warmup --jobs 0", "positive integer; got '0'"), ("warmup --jobs x", "'x'"),
    ("warmup --jobs 2 --swim", "--swim"), ("inspect", "FILE"), ("info --what", "--what"), ("--what", "--what"),
])  # fmt: skip
def test_a_wrong_command_line_is_one_line_and_status_2(line, told, capsys):
    status, err = failing(line.split(), capsys)
    assert status == 2 and told in err and "--help" in err


def test_a_failure_is_one_line_and_status_1(tmp_path, capsys, monkeypatch):
    status, err = failing(["inspect", str(tmp_path / "nothing")], capsys)
    assert status == 1 and "No such file" in err and str(tmp_path) in err
    (tmp_path / "other").write_text("# A heading\n")
    status, err = failing(["inspect", str(tmp_path / "other")], capsys)
    assert status == 1 and "safetensors" in err
    monkeypatch.setattr(sys, "executable", "/bin/false")
    status, err = failing(["warmup", "--quiet", "--jobs", "2"], capsys)
    assert status == 1 and "jobs=2" in err


def test_an_interrupt_is_one_line(capsys, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("dynq_numba.inspection.inspect", interrupted)
    assert failing(["inspect", "x"], capsys) == (130, "dynq: interrupted\n")


def test_output_is_plain_and_a_reader_may_go_away(tmp_path):
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
