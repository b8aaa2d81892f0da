"""What other tools read: JUnit XML for CI servers, a model card for model hubs."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from .verdicts import PASS, GateReport, Result


def junit(report: GateReport) -> str:
    """A test case for each look, in JUnit's XML.

    What fails is a `failure`; so is what is inconclusive and stops the build. What only warns is skipped, with the
    sentence as its message.
    """
    results = report.results
    counts = {
        "tests": len(results), "failures": sum(each.stops for each in results), "errors": 0,
        "skipped": sum(not each.stops and each.verdict != PASS for each in results),
    }  # fmt: skip
    numbers = {key: str(value) for key, value in counts.items()}
    numbers |= {"name": "dynq gate", "time": f"{report.seconds:.3f}"}
    # Jenkins' schema has no `skipped` of all suites.
    suites = ElementTree.Element("testsuites", {key: value for key, value in numbers.items() if key != "skipped"})
    suite = ElementTree.SubElement(suites, "testsuite", numbers)
    properties = ElementTree.SubElement(suite, "properties")
    for side, model in report.models.items():
        ElementTree.SubElement(properties, "property", name=f"{side}.sha256", value=_legal(model["sha256"]))
    for each in results:
        case = ElementTree.SubElement(suite, "testcase", classname=_legal(each.goal), name=_legal(each.title), time="0")
        if each.stops:
            ElementTree.SubElement(case, "failure", message=_legal(each.sentence()), type=each.verdict)
        elif each.verdict != PASS:
            ElementTree.SubElement(case, "skipped", message=_legal(each.sentence()))
        ElementTree.SubElement(case, "system-out").text = _legal(each.sentence())
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _legal(text: str) -> str:
    """Without what XML cannot hold."""
    fine = (c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000")
    return "".join(fine)


#: Names of metrics as model hubs know them.
_TYPES = {"recall@k": "recall", "spearman": "spearmanr", "auc": "roc_auc"}


def model_card(report: GateReport) -> str:
    """A README with the metadata that model hubs read (`model-index`), and what was measured."""
    name = report.models["candidate"]["file"]
    data = {"name": str(report.data["description"]), "type": str(report.data["description"])} if report.data else {}
    metrics = [_metric(each) for each in report.results if each.candidate is not None]
    index = [{"name": name, "results": [{
        "task": {"type": "other", "name": "quality gate"}, "dataset": data or {"name": "none", "type": "none"},
        "metrics": metrics,
    }]}]  # fmt: skip
    # JSON is YAML; no quoting of names is left to chance.
    head = "\n".join(
        ["---", "tags:", "- onnx", "- quantized", f"model-index: {json.dumps(index, ensure_ascii=False)}", "---", ""]
    )
    candidate = report.models["candidate"]
    parts = [
        head, f"# {name}", "",
        f"Quantized from `{report.models['reference']['file']}`: {candidate.get('receipt', 'no receipt')}.", "",
        report.to_markdown(),
    ]  # fmt: skip
    return "\n".join(parts)


def _metric(each: Result) -> dict[str, Any]:
    kind = each.fairness or each.metric or ""
    label = f"{kind if not each.fairness or not each.metric else f'{each.fairness} of {each.metric}'}"
    return {
        "type": _TYPES.get(kind, kind), "name": f"{label} ({each.where})" if each.where else label,
        "value": None if each.candidate != each.candidate else each.candidate,
        "verified": False,
    }  # fmt: skip


