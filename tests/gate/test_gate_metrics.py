"""Metrics and measures of fairness, against scikit-learn, scipy, fairlearn and definitions; with repeated rows, too."""

import numpy as np
import oracle_words
import pytest

from dynq_numba.gate import fairness
from dynq_numba.gate.metrics import METRICS, MetricError, Options, decisions, flipped, users

pytestmark = pytest.mark.extra("gate")
ROWS = 200


def counts_of(rows, rng, resamples=5):
    """Ones, then resamples."""
    drawn = [np.bincount(rng.integers(0, rows, rows), minlength=rows) for _ in range(resamples)]
    return np.array([np.ones(rows), *drawn])


def repeated(values, counts):
    index = np.repeat(np.arange(len(counts)), counts.astype(int))
    return values[index] if isinstance(values, np.ndarray) else [values[i] for i in index]


def check(name, truth, predictions, expected, rng, options=None):
    """Figures of resamples are those of an independent computation on repeated rows."""
    metric, options = METRICS[name], options or Options()
    counts = counts_of(len(truth), rng)
    found = metric.figures(metric.prepare(truth, predictions, options), counts)
    for figure, row in zip(found, counts, strict=True):
        picked = repeated(truth, row), repeated(predictions, row)
        assert figure == pytest.approx(expected(*picked), rel=1e-10, abs=1e-12)


@pytest.fixture
def binary(rng):
    truth = rng.integers(0, 2, ROWS)
    return truth, np.round(rng.normal(truth * 0.8, 1), 1)  # rounded: with ties


@pytest.mark.parametrize("width", [2, 4])
def test_accuracy_and_f1_are_those_of_scikit_learn(rng, width):
    from sklearn.metrics import accuracy_score, f1_score

    truth = rng.integers(0, width, ROWS)
    scores = rng.normal(size=(ROWS, width)) + 1.5 * np.eye(width)[truth]
    how = {"average": "binary"} if width == 2 else {"average": "macro", "labels": range(width)}
    check("accuracy", truth, scores, lambda t, p: accuracy_score(t, p.argmax(1)), rng)
    check("f1", truth, scores, lambda t, p: f1_score(t, p.argmax(1), **how), rng)


@pytest.mark.parametrize("positive", ["ham", "spam"])
def test_classes_and_the_positive_one_have_names(rng, binary, positive):
    from sklearn.metrics import f1_score, roc_auc_score

    names = np.array(["ham", "spam"])
    truth, scores = names[binary[0]], np.stack([-binary[1], binary[1]], 1)
    options, index = Options(classes=("ham", "spam"), positive=positive), names.tolist().index(positive)
    check("f1", truth, scores, lambda t, p: f1_score(t, names[p.argmax(1)], pos_label=positive), rng, options)
    check("auc", truth, scores, lambda t, p: roc_auc_score(t == positive, p[:, index]), rng, options)


def test_auc_and_spearman_with_ties_are_those_of_scikit_learn_and_scipy(rng, binary):
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    check("auc", *binary, roc_auc_score, rng)
    check("spearman", np.round(rng.normal(size=ROWS), 1), binary[1], lambda t, p: spearmanr(t, p).statistic, rng)


def test_errors_are_those_of_scikit_learn(rng):
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    truth, given = rng.normal(size=(2, ROWS, 3))
    check("mse", truth, given, mean_squared_error, rng)
    check("mae", truth, given, mean_absolute_error, rng)


def test_cosine_of_rows_of_any_length(rng):
    before = [rng.normal(size=n) for n in rng.integers(1, 9, ROWS)]
    after = [row + rng.normal(size=row.size) for row in before]

    def expected(t, p):
        return np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(t, p, strict=True)])

    check("cosine", before, after, expected, rng)


def test_recall_at_k_is_that_of_scikit_learn(rng):
    from sklearn.metrics import top_k_accuracy_score

    truth, scores = rng.integers(0, 8, ROWS), rng.normal(size=(ROWS, 8))
    check("recall@k", truth, scores, lambda t, p: top_k_accuracy_score(t, p, k=3, labels=range(8)), rng, Options(k=3))


def test_word_errors_are_counted_over_all_words(rng):
    texts = [[" ".join(rng.choice(list("abcde"), n)) for n in rng.integers(1, 7, 40)] for _ in range(2)]
    errors = oracle_words.distance
    check("wer", *texts, lambda t, p: sum(map(errors, t, p)) / sum(len(x.split()) for x in t), rng)
    assert errors("the cat sat", "the hat") == 2


def test_perplexity_is_exp_of_the_cross_entropy_of_all_labels(rng):
    from scipy.special import softmax
    from sklearn.metrics import log_loss

    lengths = rng.integers(1, 6, 40)
    logits, labels = [rng.normal(size=(n, 7)) * 3 for n in lengths], [rng.integers(0, 7, n) for n in lengths]

    def expected(t, p):
        return np.exp(log_loss(np.concatenate(t), softmax(np.concatenate(p), -1), labels=range(7)))

    check("perplexity", labels, logits, expected, rng)
    padded = [np.append(row, -100) for row in labels], [np.vstack([row, rng.normal(size=7)]) for row in logits]
    check("perplexity", *padded, lambda t, p: expected([x[:-1] for x in t], [x[:-1] for x in p]), rng)


@pytest.mark.parametrize("per_row", [True, False])
def test_a_users_function_gives_a_number_or_one_for_each_row(rng, per_row):
    truth, given = rng.normal(size=(2, ROWS))
    function = (lambda t, p: np.abs(t - p)) if per_row else (lambda t, p: float(np.abs(t - p).max()))
    metric, counts = users(function, False), counts_of(ROWS, rng)
    found = metric.figures(metric.prepare(truth, given, Options()), counts)
    for figure, row in zip(found, counts, strict=True):
        assert figure == pytest.approx(np.mean(function(repeated(truth, row), repeated(given, row))), rel=1e-12)


@pytest.mark.parametrize("name", [*fairness.RATES, *fairness.SPREADS])
@pytest.mark.parametrize("groups", [2, 5])
def test_measures_of_fairness_on_resamples_are_those_of_fairlearn(rng, binary, name, groups):
    truth, scores = binary
    label, options = rng.integers(0, groups, ROWS), Options()
    metric = None if name in fairness.RATES else METRICS["auc"]
    counts, given = counts_of(ROWS, rng), (truth, scores, fairness.Groups(label), options)
    if metric is None:
        figures = fairness.rate_figures(name, *given)(counts)
    else:
        figures = fairness.metric_figures(name, metric, *given)(counts)
    for figure, row in zip(figures, counts, strict=True):
        theirs = fairness.Groups(repeated(label, row))
        expected = fairness.fairlearn_figure(name, metric, repeated(truth, row), repeated(scores, row), theirs, options)
        assert figure == pytest.approx(expected, rel=1e-12)


WRONG = [
    ("accuracy", ["a"] * 4, np.zeros((4, 2)), Options(), "labels are text and decisions are numbers"),
    ("accuracy", [0, 1, 2, 3], np.zeros((4, 2, 2)), Options(), "a decision needs a score"),
    ("accuracy", [0] * 4, [np.zeros(1), np.zeros(2)] * 2, Options(), "a decision needs a score"),
    ("accuracy", [0] * 4, np.eye(4)[:, :3], Options(classes=(0, 1)), "data.classes has 2 names"),
    ("f1", ["a", "b"] * 2, ["a", "b"] * 2, Options(), "labels are not 0 and 1"),
    ("auc", [0, 1] * 2, np.zeros((4, 2, 2)), Options(), "scores must be one float"),
    ("auc", [0, 1] * 2, np.zeros((4, 2)), Options(positive=7), "positive must be one of the classes"),
    ("mse", np.zeros((4, 2)), np.zeros((4, 3)), Options(), "as many numbers a row; got 2 and 3"),
    ("mae", ["a"] * 4, np.zeros(4), Options(), "labels must be numbers"),
    ("spearman", np.zeros(4), np.zeros((4, 2)), Options(), "one number a row; predictions have 2"),
    ("cosine", [np.zeros(2)] * 4, [np.zeros(3)] * 4, Options(), "rows of the same length; row 0 has 2 and 3"),
    ("wer", [1] * 4, ["a"] * 4, Options(), "wer takes texts"),
    ("perplexity", [np.zeros(2, int)] * 4, [np.zeros((3, 5))] * 4, Options(), "perplexity takes logits"),
    ("perplexity", [np.array([1, 5])] * 4, [np.zeros((2, 5))] * 4, Options(), "labels below 5, the words; got 5"),
    ("accuracy", ["a", "b"] * 2, np.zeros((4, 2)), Options(classes=("a", "B")), "2 of 4 labels are none of"),
    ("auc", [0, 1, 2, 2], np.zeros(4), Options(classes=(0, 1)), "2 of 4 labels are none of"),
    ("accuracy", [0, 1, np.nan, 1], np.zeros((4, 2)), Options(), "1 of 4 labels are missing"),
    ("recall@k", [0, 1, 2, 9], np.zeros((4, 3)), Options(), "labels from 0 to 2"),
]


@pytest.mark.parametrize("name, truth, predictions, options, message", WRONG)
def test_labels_and_predictions_that_a_metric_does_not_take(name, truth, predictions, options, message):
    with pytest.raises(MetricError, match=message):
        METRICS[name].prepare(truth, predictions, options)


def test_a_score_on_the_cut_is_a_yes():
    assert decisions(np.array([0.2, 0.5]), Options()).tolist() == [0, 1]
    assert decisions(np.array([[0.2], [0.5]]), Options(cut=0.6)).tolist() == [0, 0]


@pytest.mark.parametrize("name, figure", [("accuracy", 4 / 8), ("f1", 2 / (1 + 3)), ("recall@k", 4 / 8)])
def test_a_row_of_nan_is_decided_wrong(name, figure):
    scores = np.array([[1, 0], [0, 1], [np.nan, 0], [0, np.nan]])[[0, 2, 0, 2, 1, 3, 3, 3]]
    scores[-1] = 1, 0
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 0])
    state = METRICS[name].prepare(truth, scores, Options(positive=1, k=1))
    # right: rows 0, 2, 4, 7 of 8; of the positive class one of three, and nothing said wrongly
    assert METRICS[name].figures(state, np.ones((1, 8))) == pytest.approx(figure, abs=1e-15)


@pytest.mark.parametrize("name", ["auc", "spearman"])
def test_an_order_with_nan_is_not_defined(name):
    state = METRICS[name].prepare(np.array([0, 1, 0, 1]), np.array([0.1, np.nan, 0.2, 0.3]), Options())
    assert np.isnan(METRICS[name].figures(state, np.ones((3, 4)))).all()


def test_nan_is_a_flip_where_one_model_alone_has_it():
    before, after = (np.array(each) for each in ([[1, 0], [1, 0], [np.nan, 0], [1, 0]],
                                                 [[1, 0], [np.nan, 0], [np.nan, 0], [0, 1]]))  # fmt: skip
    assert flipped(before, after, Options()).tolist() == [False, True, False, True]


@pytest.mark.parametrize("missing", [None, np.nan])
def test_rows_without_a_group_are_a_group(missing):
    kind = object if missing is None else float
    groups = fairness.Groups(np.array([2, missing, 1, 2, missing], kind))
    assert groups.names == [1, 2, "(missing)"] and groups.index.tolist() == [1, 2, 0, 1, 2]
    given = np.array([1, 0, 1, 0, 0]), np.array([1, 1, 1, 0, 1]), groups, Options()
    # selected in the groups: 1 of 1, 1 of 2, 2 of 2
    assert fairness.fairlearn_figure("demographic_parity_difference", None, *given) == 0.5


def test_f1_is_about_the_same_classes_whichever_of_them_a_model_decides_for():
    truth = np.array([0, 1, 1, 0])
    few = METRICS["f1"].prepare(truth, np.eye(3)[truth], Options())
    assert METRICS["f1"].figures(few, np.ones((1, 4))) == pytest.approx(2 / 3, abs=1e-15)
