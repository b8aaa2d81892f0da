"""``dynq completion``: a script that lets a shell complete command lines, made from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from .base import Answer, Command


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell it is for")


def _run(args: argparse.Namespace) -> Answer:
    from .main import parser_of

    text = {"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell](dict(_commands(parser_of())))
    return Answer({"shell": args.shell, "script": text}, text)


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, tuple[str, argparse.ArgumentParser]]]:
    """(name, (summary, parser)) of each command."""
    parsers: Any = next(each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    for each in parsers._choices_actions:
        yield each.dest, (each.help, parsers.choices[each.dest])


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [each for each in parser._actions if each.option_strings]


def _values(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    """(option, what it may be) of those that have choices."""
    for each in _options(parser):
        if each.choices:
            yield "|".join(each.option_strings), list(map(str, each.choices))


def _words(parser: argparse.ArgumentParser) -> list[str]:
    """Options, and what a positional argument may be."""
    own = [str(word) for each in parser._actions if not each.option_strings and each.choices for word in each.choices]
    return own + [name for each in _options(parser) for name in each.option_strings]


def _bash(commands: dict[str, tuple[str, argparse.ArgumentParser]]) -> str:
    cases = ""
    for name, (_, parser) in commands.items():
        choices = "".join(f'          {option}) words="{" ".join(values)}" ;;\n' for option, values in _values(parser))
        words = f'words="{" ".join(_words(parser))}"'
        cases += f"    {name})\n        case $before in\n{choices}          *) {words} ;;\n        esac ;;\n"
    return f"""# dynq completion bash: source it in ~/.bashrc
_dynq() {{
    local now=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local words="{" ".join(commands)} --help --version"
    if [ "$COMP_CWORD" -gt 1 ]; then case ${{COMP_WORDS[1]}} in
{cases}    esac; fi
    COMPREPLY=($(compgen -W "$words" -- "$now"))
}}
complete -o default -F _dynq dynq"""


def _zsh(commands: dict[str, tuple[str, argparse.ArgumentParser]]) -> str:
    return "#compdef dynq\n# dynq completion zsh: source it in ~/.zshrc, behind compinit\n" + (
        "autoload -U +X bashcompinit && bashcompinit\n" + _bash(commands).partition("\n")[2]
    )


def _quoted(text: str) -> str:
    """For fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish(commands: dict[str, tuple[str, argparse.ArgumentParser]]) -> str:
    lines = ["# dynq completion fish: write it to ~/.config/fish/completions/dynq.fish"]
    for name, (summary, parser) in commands.items():
        lines.append(f"complete -c dynq -n __fish_use_subcommand -f -a {name} -d {_quoted(summary)}")
        inside = f"complete -c dynq -n '__fish_seen_subcommand_from {name}'"
        for each in _options(parser):
            names = " ".join(f"-{'l' if o.startswith('--') else 's'} {o.lstrip('-')}" for o in each.option_strings)
            takes = "" if each.nargs == 0 else " -r"
            if each.choices:
                takes = f" -x -a {_quoted(' '.join(map(str, each.choices)))}"
            lines.append(f"{inside} {names}{takes} -d {_quoted((each.help or '').replace('%%', '%'))}")
    return "\n".join(lines)


COMPLETION = Command(
    "completion", "a script that completes commands and options in your shell",
    (
        ("dynq completion bash > ~/.dynq.bash", "and `source ~/.dynq.bash` in ~/.bashrc"),
        ("dynq completion zsh > ~/.dynq.zsh", "and `source ~/.dynq.zsh` in ~/.zshrc"),
        ("dynq completion fish > ~/.config/fish/completions/dynq.fish", "nothing else"),
    ),
    _arguments, _run,
)  # fmt: skip
