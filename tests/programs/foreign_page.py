"""The table of docs/howto/quantized-files.md: each form that tests make (support/foreign_models.py), and what runs.

    python tests/programs/foreign_page.py     write it anew; tests/models/foreign/test_foreign.py compares
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from foreign_models import FORMS  # noqa: E402

from dynq_numba.onnx import InferenceSession  # noqa: E402

PAGE = ROOT / "docs" / "howto" / "quantized-files.md"
BEGIN, END = "<!-- forms -->", "<!-- /forms -->"
#: Steps that multiply, by the first words of their names.
LAYERS = ("linear", "conv", "lstm", "gru", "sgemm", "sconv", "gather", "python", "loop")
#: What steps of float32 are called.
FLOATS = {"sgemm": "float32 product", "sconv": "float32 conv", "gather": "lookup", "lstm": "float32 lstm",
          "gru": "float32 gru"}  # fmt: skip


def runs(model: onnx.ModelProto, feeds: dict[str, np.ndarray], semantics: str) -> tuple[str, bool]:
    """The steps that matter, each kind once, and whether one differs from the file."""
    session = InferenceSession(model, semantics=semantics)
    session.run(None, feeds)
    found = []
    for step in session.report():
        words = step.kernel.split()
        if words[0] == "python":
            found.append(f"Python: {words[1] if len(words) > 1 else 'numbers'}")
        elif words[0] in LAYERS:
            integers = words[0] == "linear" or "int8" in words
            found.append(" ".join(words[: 1 if words[0] == "linear" else 2]) if integers else FLOATS.get(words[0], ""))
    kinds = dict.fromkeys(name for name in found if name)
    if len(kinds) > 1 and "float32 product" not in kinds:  # columns of x that are taken twice, and the like
        kinds.pop("lookup", None)
    return ", ".join(kinds), any(step.why and step.kind != "python" for step in session.report())


def table() -> str:
    lines = ["| in the file | who writes it | runs by default | activations row-wise | with `semantics=\"file\"` |",
             "|---|---|---|---|---|"]  # fmt: skip
    for form in FORMS.values():
        _, model, feeds = form.make()
        ours, differs = runs(model, feeds, "rowwise")
        written, _ = runs(model, feeds, "file")
        lines.append(f"| {form.form} | {form.writer} | {ours} | {'yes' if differs else ''} | {written} |")
    return "\n".join(lines)


def page() -> str:
    """The page with the table as it is now."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
