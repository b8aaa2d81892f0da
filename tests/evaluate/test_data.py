"""Feeds from every source, as batches."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import parsed

import dynq_numba as dq
from dynq_numba.evaluate.data import read_data
from dynq_numba.onnx import files
from dynq_numba.onnx.feeds import NodeArg

X = NodeArg("x", "tensor(float)", ["n", 3])
IDS = NodeArg("ids", "tensor(int64)", ["n", "t"])
ONE = NodeArg("image", "tensor(float)", [1, 2, "w"])
FIXED = NodeArg("state", "tensor(float)", [2, 1, 4])
COLUMN = np.arange(10, dtype=np.float32)[:, None] + np.zeros(3, np.float32)
LABELS = np.arange(10) % 3


def joined(data, name="x"):
    found = list(data)
    assert [each.first for each in found] == list(np.cumsum([0, *(each.rows for each in found[:-1])]))
    return np.concatenate([each.feeds[name] for each in found])


def sources(tmp_path):
    np.savez(tmp_path / "a.npz", x=COLUMN, label=LABELS)
    folder, runs = tmp_path / "npy", tmp_path / "npz"
    folder.mkdir(), runs.mkdir()
    np.save(folder / "x.npy", COLUMN)
    np.save(folder / "label.npy", LABELS)
    parts = [{"x": COLUMN[i : i + 4], "label": LABELS[i : i + 4]} for i in range(0, 10, 4)]
    for i, part in enumerate(parts):
        np.savez(runs / f"{i}.npz", **part)
    return [tmp_path / "a.npz", str(folder), runs, {"x": COLUMN, "label": LABELS}, parts, iter(parts)]


@pytest.mark.parametrize("i", range(6), ids=["npz", "npy", "runs", "arrays", "list", "iterator"])
def test_each_source_gives_all_rows_and_the_columns_beside_them(tmp_path, i):
    data = read_data(sources(tmp_path)[i], [X], batch=4)
    found = list(data)
    assert not data.synthetic and data.rows in (10, None)
    assert np.array_equal(np.concatenate([each.feeds["x"] for each in found]), COLUMN)
    assert np.array_equal(np.concatenate([each.columns["label"] for each in found]), LABELS)
    assert [each.rows for each in found] == [4, 4, 2] and [each.first for each in found] == [0, 4, 8]
    if i != 5:  # from the beginning again
        assert np.array_equal(joined(data), COLUMN)


@pytest.mark.extra("evaluate")
def test_a_parquet_file_has_a_row_each_and_neighbours_of_one_length_are_put_together(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [[1, 2], [3, 4], [5], [6, 7]]
    table = pyarrow.table({"ids": rows, "label": ["a", "b", "c", "d"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    data = read_data(tmp_path / "a.parquet", [IDS])
    found = list(data)
    assert data.rows == 4 and [each.feeds["ids"].tolist() for each in found] == [[[1, 2], [3, 4]], [[5]], [[6, 7]]]
    assert [each.columns["label"].tolist() for each in found] == [["a", "b"], ["c"], ["d"]]
    assert found[0].feeds["ids"].dtype == np.int64
    assert [each.rows for each in read_data(tmp_path / "a.parquet", [IDS], batch=1)] == [1, 1, 1, 1]


@pytest.mark.extra("evaluate")
def test_rows_of_a_parquet_file_may_have_the_axis_of_the_batch(tmp_path):
    import pyarrow
    import pyarrow.parquet

    for name, rows in (("one", [[[1, 2]], [[3, 4]], [[5, 6]]]), ("two", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])):
        pyarrow.parquet.write_table(pyarrow.table({"ids": rows}), tmp_path / f"{name}.parquet")
    assert joined(read_data(tmp_path / "one.parquet", [IDS], batch=2), "ids").tolist() == [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(ValueError, match=r"rows of column ids of .* must be one row .*; got \(2, 2\)"):
        list(read_data(tmp_path / "two.parquet", [IDS]))


@pytest.mark.extra("evaluate")
def test_a_column_of_lists_of_several_lengths_is_one_of_objects(tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"ids": [[1, 2]] * 3, "words": [["a"], ["b", "c"], []]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (batch,) = read_data(tmp_path / "a.parquet", [IDS])
    assert batch.columns["words"].tolist() == [["a"], ["b", "c"], []]


def test_a_number_for_all_rows_is_in_every_batch():
    found = list(read_data({"x": COLUMN, "version": np.array(3)}, [X], batch=4))
    assert [each.columns["version"].tolist() for each in found] == [[3]] * 3


def test_a_model_for_one_row_takes_rows_one_by_one_and_one_of_fixed_shape_takes_stacks():
    stack = np.arange(5 * 2 * 7, dtype=np.float32).reshape(5, 2, 7)
    found = list(read_data({"image": stack}, [ONE]))
    assert [each.feeds["image"].shape for each in found] == [(1, 2, 7)] * 5
    assert np.array_equal(np.concatenate([each.feeds["image"] for each in found]), stack)
    states = np.ones((3, 2, 1, 4), np.float32)
    found = list(read_data({"state": states, "label": np.arange(3)}, [FIXED]))
    assert [each.feeds["state"].shape for each in found] == [(2, 1, 4)] * 3
    assert [each.columns["label"].tolist() for each in found] == [[0], [1], [2]]
    assert [each.rows for each in read_data({"state": states[0]}, [FIXED])] == [1]


def test_types_become_the_models_where_nothing_is_lost():
    found = next(iter(read_data({"ids": np.ones((2, 3), np.int32)}, [IDS])))
    assert found.feeds["ids"].dtype == np.int64
    assert next(iter(read_data({"x": COLUMN.astype(np.float64)}, [X]))).feeds["x"].dtype == np.float32
    with pytest.raises(ValueError, match="ids of data must be of type int64; got float64"):
        list(read_data({"ids": np.ones((2, 3))}, [IDS]))


@pytest.mark.parametrize(
    "source,message",
    [
        ({"y": COLUMN}, "data has no x; it has y"),
        ({"x": COLUMN, "label": LABELS[:4]}, "must have as many rows as each other; got x 10, label 4"),
        ({"x": COLUMN[:, :2]}, r"x of data must have shape \['n', 3\]; got \[10, 2\]"),
    ],
)
def test_what_does_not_fit_is_told(source, message):
    with pytest.raises(ValueError, match=message):
        list(read_data(source, [X]))


def test_what_is_no_data_is_told(tmp_path):
    with pytest.raises(TypeError, match="data must be a path"):
        read_data(7, [X])
    with pytest.raises(FileNotFoundError):
        read_data(tmp_path / "none.npz", [X])
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"data must be .npz, .parquet or a folder"):
        read_data(tmp_path / "a.txt", [X])
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"an .npz file of plain arrays"):
        read_data(tmp_path / "a.npz", [X])
    with pytest.raises(ValueError, match="batch must be a positive integer; got 0"):
        read_data(None, [X], batch=0)


def test_a_probe_is_seeded_says_so_and_asks_tables_for_rows_that_they_have():
    table = np.zeros((20, 4), np.float32)
    model = parsed(
        "int64[n,t] ids, int64[n,t] attention_mask, float[n,t,4] x", "float[n,t,4] y",
        """e = Gather (table, ids) m = Cast <to: int = 1> (attention_mask) s = ReduceSum (m) f = Mul (e, s)
        y = Add (f, x)""", table=table,
    )  # fmt: skip
    session, source = dq.onnx.InferenceSession(model), files.read(model)
    inputs = session.get_inputs()
    data = read_data(None, inputs, model=source, seed=3)
    assert data.synthetic and data.seed == 3 and "synthetic" in data.description and data.rows == 64
    (batch,) = data
    assert 10 < batch.feeds["ids"].max() < 20 and (batch.feeds["attention_mask"] == 1).all()
    assert abs(float(batch.feeds["x"].mean())) < 0.1 and session.run(None, batch.feeds)[0].shape == (64, 16, 4)
    (again,), (other,) = (read_data(None, inputs, model=source, seed=seed) for seed in (3, 4))
    assert np.array_equal(again.feeds["ids"], batch.feeds["ids"])
    assert not np.array_equal(other.feeds["ids"], batch.feeds["ids"])
