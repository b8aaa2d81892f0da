"""Every benchmark by its name: python -m bench NAME [ARGUMENTS]; without a name, the list of them.

A benchmark is a module with a `main` in one of the FOLDERS; its name is the module's, what it shows the first line of
its docstring.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

FOLDERS = ("topics", "tools", "publish")


def commands() -> dict[str, tuple[str, str]]:
    """What is there, read without importing it: name -> (module, what it shows)."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((Path(__file__).parent / folder).glob("*.py")):
            tree = ast.parse(path.read_text())
            if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
                found[path.stem] = f"bench.{folder}.{path.stem}", (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main(argv: list[str]) -> int:
    there = commands()
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name:<{1 + max(map(len, there))}} {what}" for name, (_, what) in there.items()]
        print("usage: python -m bench NAME [ARGUMENTS]", "", *lines, sep="\n")
        return 0
    name, *arguments = argv
    if name not in there:
        print(f"python -m bench: no benchmark {name!r}; there are: {', '.join(there)}", file=sys.stderr)
        return 2
    return importlib.import_module(there[name][0]).main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
