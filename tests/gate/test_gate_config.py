"""gate.toml: every mistake is named with its line, all at once."""

from pathlib import Path

import pytest

from dynq_numba.gate import ConfigError, read_config
from dynq_numba.gate.config import BOUNDS, TABLES
from dynq_numba.gate.fairness import NAMES
from dynq_numba.gate.metrics import METRICS

GOOD = """\
[models]
reference = "a.onnx"
candidate = "b.onnx"

[data]
path = "rows.npz"
label = "y"
slices = ["s"]

[[goal]]
metric = "accuracy"
threshold = 0.9
"""


def read(tmp_path, text):
    path = tmp_path / "gate.toml"
    path.write_text(text)
    return read_config(path)


def mistakes(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return caught.value.mistakes


def test_a_whole_file(tmp_path):
    config = read(tmp_path, GOOD.replace("[[goal]]", '[statistics]\nmin-rows = 9\n[[goal]]\nslice = "s"'))
    assert config.reference == tmp_path / "a.onnx" and config.data == tmp_path / "rows.npz" and config.min_rows == 9
    (goal,) = config.goals
    assert (goal.name, goal.bound, goal.limit, goal.column) == ("accuracy: threshold", "threshold", 0.9, "s")
    assert goal.critical and goal.values == ()


def goal(text):
    """The file with this goal behind the first one: at line 14."""
    return f"{GOOD}\n[[goal]]\n{text}\n"


MISTAKES = [
    ("[models", ["is no TOML: "]),
    ("",
     ["gate.toml:1: [models] must have reference", "1: [models] must have candidate", "1: the file must have goals"]),
    (GOOD.replace("candidate", "candidte"), ["3: [models] has no candidte; did you mean candidate?",
                                             "1: [models] must have candidate"]),
    (GOOD.replace("[data]", "[dta]"), ["5: the file has no dta; did you mean [data]?"]),
    (GOOD.replace('"a.onnx"', "3"), ["2: [models]: reference must be text; got 3"]),
    (GOOD.replace('["s"]', '"s"'), ["8: [data]: slices must be a list of text; got 's'"]),
    (GOOD.replace("accuracy", "acuracy"),
     ["11: goal 1: metric must be one of accuracy, f1,", "did you mean accuracy?"]),
    (GOOD.replace("0.9", '"0.9"'), ["12: goal 1: threshold must be a number; got '0.9'"]),
    (GOOD.replace("0.9", "inf"), ["12: goal 1: threshold must be a number; got inf"]),
    (goal('max-flips-per-group = 0.1\ngroup = "s"\nslice = "s"'),
     ["14: goal 2: max-flips-per-group has each group as a slice already"]),
    (GOOD.replace("0.9", "nan"), ["12: goal 1: threshold must be a number; got nan"]),
    (GOOD.replace("threshold", "treshold"), ["12: goal 1 has no treshold; did you mean threshold?"]),
    (goal('metric = "f1"'), ["14: goal 2 must have one of threshold,", "got none"]),
    (goal('metric = "f1"\nthreshold = 1\nmax-degradation = 1'),
     ["14: goal 2 must have one of", "got threshold, max-deg"]),
    (goal("max-degradation = -0.1"), ["15: goal 2: max-degradation must be a number of at least 0; got -0.1"]),
    (goal("max-degradation = 0.1"), ["14: goal 2: max-degradation goes with metric or fairness"]),
    (goal('metric = "f1"\nmax-flips = 0.1'), ["14: goal 2: max-flips goes without metric and fairness"]),
    (goal("max-flips = 1.5"), ["15: goal 2: max-flips must be a number from 0 to 1; got 1.5"]),
    (goal("max-flips-per-group = 0.5"), ["14: goal 2: max-flips-per-group goes with group"]),
    (goal('group = "s"\nmax-flips = 0.5'), ["14: goal 2: group goes with fairness or max-flips-per-group"]),
    (goal('fairness = "odds"\nthreshold = 1'), ["15: goal 2: fairness must be one of by_group, difference"]),
    (goal('fairness = "difference"\ngroup = "s"\nthreshold = 1'),
     ["14: goal 2: fairness = 'difference' goes with metric"]),
    (goal('fairness = "equalized_odds_ratio"\nmetric = "f1"\ngroup = "s"\nthreshold = 1'),
     ["14: goal 2: fairness = 'equalized_odds_ratio' is about rates and goes without metric"]),
    (goal('fairness = "equalized_odds_ratio"\nthreshold = 1'), ["14: goal 2: fairness goes with group, a column"]),
    (goal('max-flips = 0.1\nslice = "t"'), ["14: goal 2: column 't' must be one of data.slices"]),
    (goal('max-flips = 0.1\nslice = {column = "s"}'), ["16: goal 2: slice must be a column, or {column"]),
    (goal('max-size = "3 MB"\nslice = "s"'), ["14: goal 2: max-size goes without slice"]),
    (goal('max-size = "3 furlongs"'), ['15: goal 2: max-size must be a size such as "30 MB"']),
    (goal("max-latency-ratio = 0"), ["15: goal 2: max-latency-ratio must be a number above 0; got 0"]),
    (goal("min-coverage = 95"), ["15: goal 2: min-coverage must be a number from 0 to 1; got 95"]),
    (goal('metric = "mine:loss"\nthreshold = 1'),
     ["14: goal 2: metric 'mine:loss' is a user's: greater-is-better must say"]),
    (goal('metric = "f1"\nthreshold = 1\ngreater-is-better = true'),
     ["14: goal 2: greater-is-better is for metrics of users"]),
    (goal('metric = "f1"\nthreshold = 1\nk = 3'), ["14: goal 2: k is for recall@k"]),
    (goal('metric = "f1"\nthreshold = 1\nis-critical = 1'), ["17: goal 2: is-critical must be true or false; got 1"]),
    (goal('metric = "accuracy"\nthreshold = 0.8'),
     ["14: goal 2: an earlier goal is called 'accuracy: threshold', too"]),
    (GOOD.replace('label = "y"\n', ""), ["9: goal 1: [data] must have label"]),
    (GOOD.replace('path = "rows.npz"\n', ""), ["9: goal 1: [data] must have path"]),
    (GOOD.replace("[data]", '[data]\nclasses = ["a"]'), ["6: [data]: classes must be a list of two or more labels"]),
    (GOOD.replace("[data]", '[data]\nclasses = ["a", "b"]\npositive = "c"'),
     ["7: [data]: positive must be one of classes"]),
    (GOOD.replace("[data]", '[data]\npreprocess = "f"'),
     ['6: [data]: preprocess must be "module:function"; got \'f\'']),
    (GOOD.replace("[data]", '[data]\npreprocess = "m:f"'), ["6: [data]: preprocess goes with inputs"]),
    (f"{GOOD}[statistics]\nconfidence = 95\nseed = -1\nresamples = 3",
     ["14: [statistics]: confidence must be a number between 0.5 and 1; got 95",
      "15: [statistics]: seed must be an integer of at least 0", "16: [statistics]: resamples must be an integer of"]),
    (GOOD.replace("[[goal]]", "[goal]"), ["10: the file must have goals, each a table [[goal]]"]),
]  # fmt: skip


@pytest.mark.parametrize("text, parts", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_named_with_its_line(tmp_path, text, parts):
    found = "\n".join(mistakes(tmp_path, text))
    for part in parts:
        assert part in found


def test_all_mistakes_are_named_at_once_in_order(tmp_path):
    text = GOOD.replace("candidate", "candidte").replace("accuracy", "acuracy").replace("[data]", "[data]\nbatch = 0")
    lines = [int(each.split(":")[1]) for each in mistakes(tmp_path, text)]
    assert lines == sorted(lines) and {1, 3, 6, 12} == set(lines)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path / "gate.toml")


def test_the_reference_names_every_key_and_word():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "gate.md").read_text()
    words = {key for table in TABLES.values() for key in table} | {*BOUNDS, *METRICS, *NAMES}
    assert [word for word in sorted(words) if f"`{word}`" not in page] == []
