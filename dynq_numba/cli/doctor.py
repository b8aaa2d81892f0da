"""``dynq doctor``: what this machine can do, what is installed, what is wrong and what to do."""

from __future__ import annotations

import argparse
from typing import Any

from ..tables import bold, folded, table
from .base import Answer, Command
from .info import facts, lines
from .status import Status


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-measure", action="store_true", help="leave out the speeds, which take a second")


def _run(args: argparse.Namespace) -> Answer:
    from .. import checkup
    from ..kernels.base.jit import JIT_ENABLED

    data = facts()
    data |= {"core_counts": checkup.cores(), "extras": checkup.extras(), "cache": checkup.place()}
    data["self_check"] = checkup.sets() if JIT_ENABLED else []
    data["rates"] = None if args.no_measure or not JIT_ENABLED else checkup.rates()
    data["advice"] = checkup.advice(data)
    failed = any(each["state"] == "wrong" for each in data["self_check"])
    return Answer(data, "\n\n".join(_parts(data)), Status.FAIL if failed else Status.PASS)


def _parts(data: dict[str, Any]) -> list[str]:
    count, of = data["core_counts"], len(data["kernels"])
    quota = "no quota" if count["quota"] is None else f"a quota of {count['quota']:g}"
    rows = [
        ("dynq-numba", data["versions"]["dynq-numba"]), ("CPU", data["cpu"]),
        ("cores", f"{count['machine']}; {count['affinity']} for this process, {quota}; {count['threads']} threads"),
        ("cache", data["cache"] or "none"), ("kernels", f"{data['kernels_kept']} of {of} are compiled and kept there"),
    ]  # fmt: skip
    if data["rates"]:
        rates = data["rates"]
        rows += [
            ("int8 layer", f"{rates['int8_layer_ops'] / 1e9:,.0f} Gop/s   (256 × 1024 × 1024, all threads)"),
            ("float32 product", f"{rates['float32_product_ops'] / 1e9:,.0f} Gop/s   (numpy's, the same sizes)"),
            ("memory", f"{rates['copy_bytes'] / 1e9:,.1f} GB/s   (read and written, all threads)"),
        ]
    checks = [(each["name"], "in use" if each["name"] == data["set"] else "", each["state"], each["why"])
              for each in data["self_check"]]  # fmt: skip
    extras = [(each["name"], "yes" if not each["missing"] else "no", each["adds"]) for each in data["extras"]]
    pips = [f"  {each['pip']}" for each in data["extras"] if each["missing"]]
    parts = [lines(rows)]
    if checks:
        parts.append(table(("set", "", "self-check", ""), checks, "lllL"))
    parts.append("\n".join([table(("extra", "here", "adds"), extras, "llL"), *pips]))
    if not data["advice"]:
        return [*parts, "nothing is wrong"]
    told = [line for each in data["advice"] for line in folded(f"{each['problem']}: {each['do']}")]
    return [*parts, "\n".join([bold("what to do"), *told])]


DOCTOR = Command(
    "doctor", "check this machine and installation: what is wrong, and what to do",
    (
        ("dynq doctor", "in a second or two"),
        ("dynq doctor --json > machine.json", "for a report of a problem"),
        ("dynq doctor --no-measure", "without the speeds"),
    ),
    _arguments, _run,
)  # fmt: skip
