"""A gate from end to end: tiny models, files of data, every kind of goal."""

import json
import re

import numpy as np
import onnx
import pytest
from onnx_models import parsed

from dynq_numba.gate import ConfigError, check, model_card
from dynq_numba.onnx import quantize

pytestmark = pytest.mark.extra("gate")
ROWS = 400


def classifier(hidden, weight):
    body = "a = MatMul (x, u)\nh = Relu (a)\nb = MatMul (h, w)\ny = Softmax <axis = -1> (b)"
    return parsed("float[N,64] x", "float[N,2] y", body, u=hidden, w=weight)


@pytest.fixture
def folder(tmp_path, rng):
    """Float and candidate models, one that is broken, and rows with labels and groups."""
    hidden, weight = rng.standard_normal((64, 64), np.float32), rng.standard_normal((64, 2), np.float32)
    onnx.save(classifier(hidden, weight), tmp_path / "float.onnx")
    quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    quantize(classifier(hidden, weight[:, ::-1].copy()), tmp_path / "broken.onnx")
    x = rng.standard_normal((ROWS, 64), np.float32)
    y = ((np.maximum(x @ hidden, 0) @ weight).argmax(1) ^ (rng.random(ROWS) < 0.1)).astype(np.int64)
    np.savez(tmp_path / "rows.npz", features=x, y=y, secret=rng.permutation(10**6)[:ROWS],
             length=np.where(rng.random(ROWS) < 0.5, "long", "short"), rare=np.arange(ROWS) // 390)  # fmt: skip
    return tmp_path


def gate(folder, goals, candidate="int8.onnx", data="", **settings):
    more = "".join(f"{key} = {value}\n" for key, value in settings.items())
    (folder / "gate.toml").write_text(
        f'[models]\nreference = "float.onnx"\ncandidate = "{candidate}"\n[data]\npath = "rows.npz"\nlabel = "y"\n'
        f'inputs = {{x = "features"}}\nslices = ["length", "rare", "secret"]\n{data}\n[statistics]\n{more}\n'
        + "".join(f"[[goal]]\n{goal}\n" for goal in goals)
    )
    return check(folder / "gate.toml")


GOALS = [
    'metric = "accuracy"\nthreshold = 0.8', 'metric = "accuracy"\nmax-degradation = 0.05',
    'metric = "f1"\nthreshold = 0.8',
    'metric = "auc"\nmax-degradation = 0.02\nslice = "length"', 'metric = "cosine"\nthreshold = 0.99',
    'metric = "accuracy"\npercent-max-degradation = 5', "max-flips = 0.05", "min-coverage = 0.9", 'max-size = "1 MB"',
    'max-flips-per-group = 0.1\ngroup = "length"', "max-size-ratio = 100",
    'fairness = "equalized_odds_difference"\ngroup = "length"\nthreshold = 0.3',
    'fairness = "demographic_parity_ratio"\ngroup = "length"\nmax-degradation = 0.1',
    'fairness = "by_group"\nmetric = "accuracy"\ngroup = "length"\nmax-degradation = 0.1',
    'fairness = "group_min"\nmetric = "accuracy"\ngroup = "length"\nthreshold = 0.7',
    'name = "one"\nmetric = "accuracy"\nthreshold = 0.8\nslice = {column = "length", values = ["long"]}',
    'name = "theirs"\nmetric = "sklearn.metrics:matthews_corrcoef"\ngreater-is-better = true\nthreshold = 0.1',
]  # fmt: skip


def test_every_kind_of_goal(folder):
    after = 'postprocess = "after:decided"'
    (folder / "after.py").write_text("def decided(outputs, columns):\n    return outputs['y'].argmax(1)\n")
    report = gate(folder, GOALS[:-1], resamples=200)
    assert report.verdict == "pass" and report.status == 0, str(report)
    assert len(report.results) == len(GOALS) - 1 + 3  # two lengths: three goals have two looks
    assert {each.where for each in report.results} == {"", "length = long", "length = short"}
    assert gate(folder, GOALS[-1:], data=after, resamples=200).verdict == "pass"


def test_values_are_those_of_independent_computations(folder):
    from fairlearn.metrics import demographic_parity_ratio
    from sklearn.metrics import roc_auc_score

    from dynq_numba.onnx import InferenceSession

    rows = np.load(folder / "rows.npz")
    before, after = (InferenceSession(folder / name).run(None, {"x": rows["features"]})[0] for name in
                     ("float.onnx", "int8.onnx"))  # fmt: skip
    report = gate(folder, GOALS[:-1], resamples=200)
    found = {(each.goal, each.where): each for each in report.results}
    short = rows["length"] == "short"
    auc = [roc_auc_score(rows["y"][short], each[short, 1]) for each in (before, after)]
    look = found["auc: max-degradation", "length = short"]
    assert (look.reference, look.candidate, look.value) == pytest.approx((*auc, auc[0] - auc[1]), abs=1e-12)
    parity = [demographic_parity_ratio(rows["y"], each.argmax(1), sensitive_features=rows["length"])
              for each in (before, after)]  # fmt: skip
    look = found["demographic_parity_ratio by length: max-degradation", ""]
    assert look.value == pytest.approx(parity[0] - parity[1], abs=1e-12)
    assert found["max-flips", ""].value == (before.argmax(1) != after.argmax(1)).mean()
    assert found["max-size", ""].value == (folder / "int8.onnx").stat().st_size


@pytest.mark.parametrize("goal, verdict", [
    ('metric = "accuracy"\nthreshold = 0.8', "fail"), ("max-flips = 0.05", "fail"), ('max-size = "100 B"', "fail"),
    ('metric = "accuracy"\nmax-degradation = 0.1\nis-critical = false', "pass"),
    ('metric = "accuracy"\nthreshold = 0.5\nslice = {column = "rare", values = [1]}', "inconclusive"),
    ('fairness = "group_min"\nmetric = "accuracy"\ngroup = "length"\nthreshold = 0.5', "fail"),
])  # fmt: skip
def test_a_broken_candidate(folder, goal, verdict):
    report = gate(folder, [goal], "broken.onnx", resamples=200)
    assert report.verdict == verdict, str(report)
    assert report.status == {"pass": 0, "fail": 1, "inconclusive": 4}[verdict]


def test_few_rows_are_inconclusive_whatever_they_show(folder):
    (look,) = gate(folder, ['max-flips = 0.9\nslice = {column = "rare", values = [1]}']).results
    assert look.rows == 10 and look.verdict == "inconclusive" and "10 rows are fewer than min-rows = 30" in look.note


def test_latency_is_a_ratio_with_an_interval(folder):
    (look,) = gate(folder, ["max-latency-ratio = 1000"]).results
    assert 0 < look.low <= look.value <= look.high and look.verdict == "pass"


@pytest.mark.parametrize("goal, data, message", [
    ('max-flips = 0.1\nslice = {column = "length", values = ["shrot"]}', "", "no 'shrot'; it has long, short"),
    ('max-flips = 0.1\nslice = "secret"', "", "column 'secret' has 400 values; slices have 50 at most"),
    ("max-flips = 0.1", 'output = "z"', r"data.output must be one of \['y'\]; got 'z'"),
    ("max-flips = 0.1", 'postprocess = "nowhere:f"', "data.postprocess = 'nowhere:f': No module named 'nowhere'"),
])  # fmt: skip
def test_what_the_data_does_not_have(folder, goal, data, message):
    with pytest.raises(ConfigError, match=message):
        gate(folder, [goal], data=data)


def test_feeds_of_varying_length_and_functions_of_users(tmp_path, rng):
    """Words are looked up and averaged; texts have any length, labels are names."""
    import pyarrow as pa
    import pyarrow.parquet

    table = rng.standard_normal((20, 2), np.float32)
    body = "e = Gather (t, ids)\nm = ReduceMean <keepdims = 0> (e, axis)"
    onnx.save(parsed("int64[N,L] ids", "float[N,2] m", body, t=table, axis=np.array([1])), tmp_path / "float.onnx")
    quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    texts = [[int(each) for each in rng.integers(0, 20, n)] for n in rng.integers(1, 9, 100)]
    names = [["no", "yes"][int(table[ids].mean(0).argmax())] for ids in texts]
    words = [" ".join(map(str, ids)) for ids in texts]
    pa.parquet.write_table(pa.table({"ids": texts, "words": words, "label": names}), tmp_path / "rows.parquet")
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def tokens(columns):\n"
        "    return {'ids': np.array([[int(n) for n in text.split()] for text in columns['words']])}\n"
        "def names(outputs, columns):\n    return np.array(['no', 'yes'])[outputs['m'].argmax(1)]\n"
        "def hits(truth, predictions):\n    return truth == predictions\n"
    )
    models = '[models]\nreference = "float.onnx"\ncandidate = "int8.onnx"\n'
    head = models + '[data]\npath = "rows.parquet"\nlabel = "label"\n'
    by_file = 'classes = ["no", "yes"]\n[[goal]]\nmetric = "accuracy"\nthreshold = 0.9\n'
    own = (
        'preprocess = "mine:tokens"\npostprocess = "mine:names"\ninputs = ["words"]\nbatch = 1\n'
        '[[goal]]\nmetric = "accuracy"\nthreshold = 0.9\n'
        '[[goal]]\nmetric = "mine:hits"\nthreshold = 0.9\ngreater-is-better = true\n'
    )
    values = []
    for text in (by_file, own):
        (tmp_path / "gate.toml").write_text(head + text)
        report = check(tmp_path / "gate.toml")
        assert report.data["rows"] == 100 and report.verdict == "pass", str(report)
        values += [(each.reference, each.candidate) for each in report.results]
    assert values[0] == values[1] == values[2]


def test_no_report_has_a_row_of_the_data(folder):
    report = gate(folder, GOALS[:-1], resamples=200)
    secrets = set(map(str, np.load(folder / "rows.npz")["secret"].tolist()))
    for text in (report.to_json(), report.to_markdown(), model_card(report), str(report)):
        plain = re.sub(r"[0-9a-f]{16,}", "", text)  # digests
        assert not secrets & set(re.findall(r"(?<![\d.])\d{5,}(?![\d.])", plain))


def test_a_model_card_has_the_metrics_where_hubs_look_for_them(folder):
    text = model_card(gate(folder, GOALS[:4], resamples=200))
    _, head, body = text.split("---\n", 2)
    (line,) = [line for line in head.splitlines() if line.startswith("model-index: ")]
    (model,) = json.loads(line.removeprefix("model-index: "))
    (found,) = model["results"]
    assert model["name"] == "int8.onnx" and found["dataset"]["name"] == "rows.npz" and "task" in found
    kinds = [(each["type"], each["name"]) for each in found["metrics"]]
    assert kinds[0] == ("accuracy", "accuracy") and ("roc_auc", "auc (length = long)") in kinds
    assert all(isinstance(each["value"], float) for each in found["metrics"]) and "# int8.onnx" in body
