"""The page of a report: one file that asks for nothing, whole, escaped."""

import builtins
import json
import re
from html.parser import HTMLParser

import numpy as np
import onnx
import pytest
from onnx_models import parsed
from report_data import HOSTILE, LAYERS, comparison, fidelity, gate, receipt, search, timings, whole

from dynq_numba import onnx as dynq_onnx
from dynq_numba.cli.main import main
from dynq_numba.report import goals, page, write
from dynq_numba.report.page import MOST

pytestmark = pytest.mark.extra("report")
#: Elements without an end.
VOID = {"meta", "input", "img", "br", "link", "hr"}


class Reader(HTMLParser):
    """What a page is made of; fails where elements do not nest."""

    def __init__(self):
        super().__init__()
        self.open, self.found, self.texts, self.specs = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == ("script", {"type": "application/json"}):
            self.specs.append(json.loads(data))
        elif self.open and self.open[-1][0] not in ("script", "style"):
            self.texts.append(data)

    @classmethod
    def of(cls, text):
        reader = cls()
        reader.feed(text)
        reader.close()
        assert reader.open == []
        return reader

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def attributes(self, name):
        return [given[name] for _, given in self.found if name in given]


@pytest.fixture(scope="module")
def made():
    return page(**whole())


def test_a_page_is_small_and_asks_for_nothing(made):
    assert len(made.encode()) < MOST == 1_500_000
    reader = Reader.of(made)
    assert not [each for each in reader.attributes("src") + reader.attributes("href") if not each.startswith("#")]
    style = made[made.index("<style>") : made.index("</style>")]
    assert "@import" not in style and "url(" not in style and "default-src 'none'" in made


def test_elements_nest_ids_are_one_each_and_links_lead_somewhere(made):
    reader = Reader.of(made)
    ids = reader.attributes("id")
    assert len(ids) == len(set(ids)) and {f"#{each}" for each in ids} >= set(reader.attributes("href"))
    headings = [tag for tag, _ in reader.found if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1" and headings.count("h1") == 1
    labelled = [given for tag, given in reader.found if given.get("role") == "img"]
    assert len(labelled) == len(reader.specs) > 10 and all(len(each["aria-label"]) > 20 for each in labelled)


def test_what_users_named_is_text(made):
    reader = Reader.of(made)
    assert made.count("window.hacked=1</script>") == 0
    assert {tag for tag, _ in reader.found} & {"img", "iframe", "object", "link"} == set()
    assert HOSTILE in "".join(reader.texts) and reader.attributes("onerror") == []
    assert sum(tag == "script" and given == {"type": "module"} for tag, given in reader.found) == 2
    assert any(HOSTILE == row.get("name") for each in reader.specs for row in each["datasets"]["rows"])


def test_the_verdict_comes_first_then_what_people_ask(made):
    text = Reader.of(made).text
    order = ["FAIL", "accuracy stays [language = de]", "Goals", "Slices and groups", "Results of the model",
             "Where the error comes from", "Values of the worst layers", "Time", "Mixes that were tried",
             "What was quantized", "How this was made", "dynq compare minilm.onnx", "4f4f"]  # fmt: skip
    text = text.partition("dynq-numba report")[2]
    places = [text.index(each) for each in order[:2]]
    heads = [text.rindex(each) for each in order[2:7]]
    assert places == sorted(places) and heads == sorted(heads)
    for told in ("1.20e-03", "26.2 dB", "3.12%", "90.4 MB → 23 MB", "4 of 6", "2.37", "paired bootstrap", "layer.0"):
        assert told in text, told


def test_the_worst_layer_is_named(made):
    values = {each["layer"]: each["loss_alone"] for each in comparison()["layers"]}
    worst = max(values, key=values.get)
    assert f"36 layers. The worst is {worst}: the model's loss where only this layer is" in Reader.of(made).text


@pytest.mark.parametrize(("parts", "there", "absent"), [
    ({"comparison": comparison(layers=False)}, {"outputs", "origin"}, {"layers", "goals", "receipt", "latency"}),
    ({"comparison": comparison()}, {"outputs", "layers", "origin"}, {"goals", "receipt"}),
    ({"gate": gate("pass")}, {"goals", "slices", "origin"}, {"outputs", "layers"}),
    ({"receipt": receipt()}, {"receipt", "origin"}, {"outputs", "goals"}),
    ({"timings": timings()}, {"latency", "origin"}, {"outputs"}),
    ({"search": search()}, {"pareto", "choices", "origin"}, {"outputs"}),
    ({"search": search(found=False)}, {"pareto", "origin"}, {"choices"}),
])  # fmt: skip
def test_sections_are_there_where_their_data_is(parts, there, absent):
    ids = set(Reader.of(page(**parts)).attributes("id"))
    assert there <= ids and not absent & ids


def test_odd_numbers_are_shown_as_what_they_are():
    odd = comparison() | {"outputs": [fidelity("same", 0.0), fidelity("broken", float("nan"), sqnr_db="nan")]}
    odd["layers"][0] |= {"own": None, "loss_alone": None, "loss_without": None}
    odd["layers"][1]["loss_alone"] = 0.0
    text = Reader.of(page(comparison=odd)).text
    assert "identical" in text and "not finite" in text and "NaN" not in text
    only = comparison(layers=False) | {"outputs": [fidelity("same", 0.0)]}
    assert "IDENTICAL All results on 64 rows are those of the reference." in Reader.of(page(comparison=only)).text
    assert "random numbers" in Reader.of(page(comparison=comparison() | {"synthetic": True})).text


@pytest.mark.parametrize("low, high, shown", [(None, None, "unknown"), (None, 0.3, "unknown … 0.3"),
                                             (0.001, None, "0.001 … unknown"), (0.001, 0.3, "0.001 … 0.3")])
def test_an_end_of_an_interval_that_rows_do_not_tell_is_not_drawn_at_the_value(low, high, shown):
    given = gate()
    look, sized = given["results"][0], given["results"][2]
    look |= {"low": low, "high": high, "rows": 40}
    sized |= {"low": None, "high": None, "rows": None}
    section, _ = goals.goals(given)
    (drawn,) = (row for chart in section.charts for row in chart.spec["datasets"]["rows"]
                if row["title"] == look["goal"])  # fmt: skip
    assert (drawn["low"], drawn["high"]) == (low, high)
    cells = [[cell.text for cell in row] for row in section.tables[0].rows]
    assert shown in cells[0] and "unknown" not in " ".join(cells[2])
    (size,) = (row for chart in section.charts for row in chart.spec["datasets"]["rows"] if row["title"] == "size")
    assert size["low"] == size["high"] == size["value"]


def test_however_much_there_is_a_page_fits():
    known, weights = comparison(hostile="x"), receipt("x")
    name = "/model/encoder/layers.{}/attention/self/query/MatMul"
    known["layers"] = [known["layers"][i % LAYERS] | {"layer": name.format(i)} for i in range(1000)]
    weights["entries"] = [weights["entries"][i % LAYERS] | {"weight": name.format(i)} for i in range(1000)]
    found = gate()
    found["results"] = [found["results"][i % 6] | {"where": f"language = {i}"} for i in range(1000)]
    made = page(comparison=known, receipt=weights, gate=found)
    assert len(made.encode()) < MOST
    text = Reader.of(made).text
    for what in ("layers, the worst", "weights, the largest", "looks, what fails first"):
        assert f"The table has 300 of 1,000 {what}; --json has all." in text
    assert "1000 layers. The worst is" in text


def test_what_is_no_report_is_refused():
    with pytest.raises(ValueError, match="at most 1,500,000 bytes; got"):
        page(comparison=comparison(), recipe="x" * MOST)
    with pytest.raises(ValueError, match="a report needs one of comparison, gate"):
        page()


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    write(tmp_path / "out.html", receipt=receipt())
    assert [each.name for each in tmp_path.iterdir()] == ["out.html"]
    before = (tmp_path / "out.html").read_bytes()

    def broken(*given):
        raise OSError("no room")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="no room"):
        write(tmp_path / "out.html", receipt=receipt() | {"notes": ["other"]})
    assert [each.name for each in tmp_path.iterdir()] == ["out.html"] and (tmp_path / "out.html").read_bytes() == before


@pytest.fixture
def model(tmp_path):
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    onnx.save(parsed("float[m, 64] x", "float[m, 32] y", "y = MatMul (x, w)", w=weight), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_quantize_writes_one(model, capsys):
    out = model.with_name("out.html")
    assert main(["quantize", str(model), "--report", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"report written to {out}\n")
    text = Reader.of(out.read_text("utf-8")).text
    assert "QUANTIZED" in text and "int8_per_channel" in text and "1 of 1 weights are integers" in text
    assert main(["quantize", str(model), "--report", str(model)]) == 1
    assert "--report must be another file than" in capsys.readouterr().err


def test_a_real_comparison_has_a_page(model):
    made = model.with_name("made.onnx")
    dynq_onnx.quantize(model, made)
    x = np.random.default_rng(1).standard_normal((5, 64), np.float32)
    found = dynq_onnx.compare(str(model), str(made), {"x": x})
    text = Reader.of(page(comparison=json.loads(found.to_json()))).text
    assert "COMPARED" in text and f"{found.loss:.2e}" in text and found.candidate_sha256 in text


def test_without_the_extra_nothing_is_begun(model, capsys, monkeypatch):
    true = builtins.__import__

    def without(name, *given, **named):
        if name == "altair":
            raise ModuleNotFoundError("No module named 'altair'", name="altair")
        return true(name, *given, **named)

    monkeypatch.setitem(__import__("sys").modules, "altair", None)
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["quantize", str(model), "--report", str(model.with_name("out.html"))]) == 1
    assert capsys.readouterr().err == "dynq: --report needs altair: pip install 'dynq-numba[report]'\n"
    assert [each.name for each in model.parent.iterdir()] == ["model.onnx"]


def test_the_recipe_of_a_receipt_is_a_line_for_each_rule():
    rules = [{"match": "head", "ops": [], "reason": "", "scheme": {"bits": 32, "granularity": "none", "smooth": None}},
             {"match": "", "ops": ["Conv"], "scheme": {"bits": 8, "granularity": "per_channel"}}]  # fmt: skip
    made = page(receipt=receipt() | {"recipe": {"rules": rules, "attention": 8}})
    shown = "".join(Reader.of(made).texts).split("Recipe\n")[1]
    assert [json.loads(line) for line in shown.strip().splitlines()[:3]] == [
        {"match": "head", "bits": 32}, {"ops": ["Conv"], "bits": 8, "granularity": "per_channel"}, {"attention": 8},
    ]  # fmt: skip


def test_a_search_tells_what_it_took():
    text = Reader.of(page(search=search())).text
    assert "FOUND Taken: mix 7, degradation 0.000681, 18.5 MB, 3.35 ms a batch." in text and "some batches" not in text
    assert "bits = 4" in text and "max_degradation" in text and HOSTILE in text
    nothing = Reader.of(page(search=search(found=False))).text
    assert "NOTHING FOUND No mix that was tried is within all budgets." in nothing
