"""Chain: the bits of the functions one by one, whatever the rows, cut, threads and instruction set."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynq_numba as dq
from dynq_numba.kernels.chain.context import ChainProgram
from dynq_numba.operators.chain import step

F32 = np.float32
SCHEMES = (
    {}, {"outliers": [40, 3]}, {"bits": 4}, {"bits": 4, "granularity": "per_group", "group_size": 32},
    {"granularity": "per_tensor"},
)  # fmt: skip


def packed(rng, n, k, **scheme):
    return dq.pack_linear(rng.standard_normal((n, k), F32) / F32(k**0.5), rng.standard_normal(n, F32), **scheme)


def encoder(rng, width=40, inner=130):
    """The rest of a BERT layer behind its attention, with the next one's projections; and the same by functions."""
    o, up, down = packed(rng, width, width), packed(rng, inner, width), packed(rng, width, inner)
    several = [packed(rng, n, width) for n in (width, 24, 70)]
    g, b = rng.standard_normal((2, width), F32)
    chain = dq.Chain({
        "projected": step.Linear(o, x="context"),
        "seen": step.LayerNorm(g, b, residual="x", eps=1e-12),
        "up": step.Linear(up, activation="gelu"),
        "down": step.Linear(down),
        "y": step.LayerNorm(b, residual="seen"),
        "q": step.Linear(several[0], x="y"), "k": step.Linear(several[1], x="y"),
        "v": step.Linear(several[2], x="y", activation="tanh"),
    }, returns=("y", "q", "k", "v"))  # fmt: skip

    def functions(context, x):
        seen = dq.layer_norm(dq.linear(context, o), g, b, residual=x, eps=1e-12)
        y = dq.layer_norm(dq.linear(dq.linear(seen, up, activation="gelu"), down), b, residual=seen)
        return (y, *dq.linear_many(y, several[:2]), dq.linear(y, several[2], activation="tanh"))

    return chain, functions


def decoder(rng, width=48, inner=96, **scheme):
    """The rest of a LLaMA layer behind its attention."""
    o, gate, up = (packed(rng, n, width, **scheme) for n in (width, inner, inner))
    down, g = packed(rng, width, inner, **scheme), rng.standard_normal(width, F32)
    chain = dq.Chain({
        "attended": step.Linear(o, residual="x", x="context"),
        "n": step.RMSNorm(g, residual="x", sum="h"),
        "gate": step.Linear(gate), "up": step.Linear(up, x="n"),
        "inner": step.SwiGLU("up", x="gate"),
        "y": step.Linear(down, residual="h"),
    }, "y")  # fmt: skip

    def functions(context, x):
        attended, h = dq.linear(context, o, residual=x), np.empty_like(x)
        n = dq.rms_norm(attended, g, residual=x, sum_out=h)
        return dq.linear(dq.swiglu(dq.linear(n, gate), dq.linear(n, up)), down, residual=h)

    return chain, functions


def assert_each(found, expected):
    found, expected = ((a,) if isinstance(a, np.ndarray) else a for a in (found, expected))
    assert type(found) is tuple and len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.flags.c_contiguous and a.shape == b.shape
        oracle.assert_same_bits(a, b)


@pytest.mark.parametrize("m", [1, 2, 5, 27, 28, 29, 57, 84, 300])
def test_the_bits_of_the_functions(isa, rng, m):
    for chain, functions in (encoder(rng), decoder(rng)):
        context, x = rng.standard_normal((2, m, chain._plan.widths["x"]), F32)
        if m == 29:
            context[7, 3], x[9] = np.nan, np.inf
        expected = functions(context, x)
        for threads in (None, 1, 2, 3):
            assert_each(chain(context, x=x, threads=threads), expected)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_every_scheme(rng, scheme):
    chain, functions = decoder(rng, **scheme)
    for m in (3, 120):
        context, x = rng.standard_normal((2, m, 48), F32)
        assert_each(chain(context, x=x, threads=2), functions(context, x))


def test_wide_layers_of_several_strips(rng):
    chain, functions = encoder(rng, 700, 2900)
    for m in (4, 200):
        context, x = rng.standard_normal((2, m, 700), F32)
        assert_each(chain(context, x=x, threads=2), functions(context, x))


def test_weights_beyond_the_cache_never_go_by_blocks(rng, monkeypatch):
    monkeypatch.setattr("dynq_numba.runtime.cpu.last_cache_bytes", lambda: 1 << 10)
    chain, functions = encoder(rng)
    assert chain._first._words[ChainProgram.block] == 0
    context, x = rng.standard_normal((2, 200, 40), F32)
    assert_each(chain(context, x=x, threads=2), functions(context, x))


@given(st.data())
def test_any_steps(data):
    """Steps that take any earlier values: rooms of scratch that are used again never hold what is still read."""
    rng, widths, steps = np.random.default_rng(5), {"x": 24, "other": 40}, {}
    for i in range(data.draw(st.integers(1, 9))):
        source = data.draw(st.sampled_from(list(widths))) if i else "x"
        k = widths[source]
        same = [name for name, width in widths.items() if width == k and (i or name == "x")]
        kind = data.draw(st.sampled_from(["linear", "linear", "norm", "rms", "swiglu"]))
        name = f"v{i}"
        if kind == "linear":
            n = data.draw(st.sampled_from([24, 40, 24, 33]))
            fit = [value for value, width in widths.items() if width == n and value != "other"]
            addend = data.draw(st.sampled_from([None, *fit]))
            steps[name] = step.Linear(packed(rng, n, k), x=source, residual=addend)
            widths[name] = n
        elif kind == "swiglu" and i:
            steps[name] = step.SwiGLU(data.draw(st.sampled_from(same)), x=source)
            widths[name] = k
        else:
            addend = data.draw(st.sampled_from([None, *same]))
            total = f"s{i}" if addend and data.draw(st.booleans()) else None
            norm = step.RMSNorm if kind == "rms" else step.LayerNorm
            steps[name] = norm(rng.standard_normal(k, F32), x=source, residual=addend, sum=total)
            widths[name] = k
            if total:
                widths[total] = k
    made = [name for name in widths if name[0] in "vs"]
    returns = data.draw(st.lists(st.sampled_from(made), min_size=1, unique=True))
    try:
        chain = dq.Chain(steps, tuple(returns))
    except ValueError as error:  # "other" met a swiglu first, or is the first argument's name
        assert "earlier step" in str(error)
        return
    m = data.draw(st.sampled_from([1, 6, 130]))
    arrays = {name: rng.standard_normal((m, widths[name]), F32) for name in chain.arguments}
    first, *others = (arrays[name] for name in chain.arguments)
    expected = chain._one_by_one([first, *others], 1)
    for threads in (1, 2):
        found = chain(first, threads=threads, **dict(zip(chain.arguments[1:], others, strict=True)))
        assert_each(found, tuple(expected))


@pytest.mark.parametrize("lead", [(), (0,), (3, 0), (2, 3), (1,), (4, 1, 2)])
def test_any_array(rng, lead):
    chain, functions = encoder(rng)
    context, x = rng.standard_normal((*lead, 40)), rng.standard_normal((*lead, 80)).astype(F32)[..., ::2]
    x.flags.writeable = False
    assert_each(chain(context, x=x), functions(context, x))


def test_rotated_weights_go_one_by_one(rng):
    w = packed(rng, 32, 64, rotate=32)
    x = rng.standard_normal((50, 64), F32)
    assert_each(dq.Chain({"y": step.Linear(w, activation="silu")})(x), dq.linear(x, w, activation="silu"))


def test_copies_and_pickles(rng):
    chain, functions = encoder(rng)
    context, x = rng.standard_normal((2, 60, 40), F32)
    for other in (pickle.loads(pickle.dumps(chain)), copy.deepcopy(chain)):
        assert_each(other(context, x=x), functions(context, x))
    assert repr(chain).startswith("Chain(context, x -> y, q, k, v; projected: Linear, seen: LayerNorm")


def test_nothing_between_the_steps(rng):
    """No scratch at all, in a process that has had none."""
    code = """
import numpy as np, dynq_numba as dq
chain = dq.Chain({"y": dq.step.Linear(dq.pack_linear(np.eye(40, 24, dtype=np.float32)))})
print(chain(np.ones((3, 24), np.float32)).shape, chain(np.ones((3000, 24), np.float32)).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.strip() == "(3, 40) (3000, 40)", done.stderr


def test_the_setting_changes_meanwhile():
    """More threads than the call had room for when it began."""
    code = """
import threading, time
import numpy as np, dynq_numba as dq
w = dq.pack_linear(np.eye(1024, dtype=np.float32))
chain, x = dq.Chain({f"s{i}": dq.step.Linear(w) for i in range(24)}), np.ones((16, 1024), np.float32)
end = time.time() + 1.5
dq.set_num_threads(64)
expected = chain(x, threads=1)
def toggle():
    while time.time() < end:
        for threads in (1, 64):
            dq.set_num_threads(threads)
            time.sleep(3e-4)
thread = threading.Thread(target=toggle)
thread.start()
while time.time() < end:
    assert np.array_equal(chain(x), expected)
thread.join()
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.strip() == "fine", (done.returncode, done.stderr)


def test_weights_live_as_long_as_the_chain(rng):
    """The caller may drop or change what the chain was made of."""
    g = rng.standard_normal(40, F32)
    chain = dq.Chain({"a": step.Linear(packed(rng, 40, 40)), "y": step.LayerNorm(g)})
    x = rng.standard_normal((90, 40), F32)
    expected = chain(x)
    g[:] = 0
    rubbish = [np.full(40 * 40, 3, np.int8) for _ in range(50)]
    oracle.assert_same_bits(chain(x), expected)
    assert len(rubbish) == 50


def test_callers_at_once(rng):
    chain, functions = decoder(rng)
    problems = [tuple(rng.standard_normal((2, m, 48), F32)) for m in (2, 40, 200, 500)]
    expected = [functions(*problem) for problem in problems]
    wrong = []

    def work(turn):
        for i in range(60):
            which = (i + turn) % len(problems)
            context, x = problems[which]
            if not np.array_equal(chain(context, x=x, threads=(None, 1, 2, 4)[turn % 4]), expected[which]):
                wrong.append((turn, i))

    workers = [threading.Thread(target=work, args=(turn,)) for turn in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


# ----------------------------------------------------------------------------------------------------------- errors

_rng = np.random.default_rng(1)
W, G = dq.pack_linear(_rng.standard_normal((6, 4), F32)), np.ones(4, F32)


@pytest.mark.parametrize(("steps", "returns", "message"), [
    ({}, None, "steps must be a mapping"),
    ([step.Linear(W)], None, "steps must be a mapping"),
    ({3: step.Linear(W)}, None, "steps must give values with names"),
    ({"": step.Linear(W)}, None, "steps must give values with names"),
    ({"threads": step.Linear(W)}, None, "steps must give values with names"),
    ({"a": step.RMSNorm(G, residual="r", sum=["s"])}, None, "names.*'a'"),
    ({"a": step.RMSNorm(G, residual="r", sum="")}, None, "names.*'a'"),
    ({"a": step.RMSNorm(G, residual="threads")}, None, "'a'.*residual"),
    ({"a": step.Linear(W, x="")}, None, "'a'.*x must be the name"),
    ({"a": step.RMSNorm(G, eps=10**400)}, None, "'a'.*eps"),
    ({"a": step.LayerNorm(G)}, [["a"]], "returns"),
    ({"a": W}, None, "'a'.*PackedLinear"),
    ({"a": step.Linear(G)}, None, "'a'.*: w must be a PackedLinear"),
    ({"a": step.Linear(dq.pack_linear(np.ones((2, 2)), x_granularity="per_tensor"))}, None, "'a'.*per_token"),
    ({"a": step.Linear(W, activation="selu")}, None, "'a'.*activation"),
    ({"a": step.Linear(W), "b": step.Linear(W)}, None, "'b'.*x must have 4 columns; 'a' has 6"),
    ({"a": step.Linear(W, x="b"), "b": step.LayerNorm(G)}, None, "'a'.*x must be given by an earlier step; 'b'"),
    ({"a": step.Linear(W, x=3)}, None, "'a'.*x must be the name"),
    ({"a": step.Linear(W, residual="not a name")}, None, "'a'.*residual must be the name"),
    ({"a": step.LayerNorm(np.ones((2, 2)))}, None, "'a'.*weight"),
    ({"a": step.LayerNorm(G, np.ones(3))}, None, "'a'.*bias"),
    ({"a": step.RMSNorm(G, eps=-1.0)}, None, "'a'.*eps"),
    ({"a": step.RMSNorm(G, eps="x")}, None, "'a'.*eps"),
    ({"a": step.RMSNorm(G, sum="t")}, None, "'a'.*sum"),
    ({"a": step.RMSNorm(G, residual="r", sum="r")}, None, "'a'.*'r'"),
    ({"a": step.RMSNorm(G, residual="r", sum="a")}, None, "'a'.*'a' already"),
    ({"a": step.SwiGLU("u")}, None, "'a'.*x must be given or taken by an earlier step"),
    ({"a": step.LayerNorm(G)}, "b", "returns"),
    ({"a": step.LayerNorm(G)}, ("a", "a"), "returns"),
    ({"a": step.LayerNorm(G)}, (), "returns"),
    ({"a": step.LayerNorm(G)}, 3, "returns"),
])  # fmt: skip
def test_steps_that_do_not_fit_are_told(steps, returns, message):
    with pytest.raises((TypeError, ValueError), match=message):
        dq.Chain(steps, returns)


@pytest.mark.parametrize(("x", "others", "message"), [
    (np.ones((3, 4), F32), {}, "arguments beside x must be: r"),
    (np.ones((3, 4), F32), {"r": np.ones((3, 4)), "s": 1}, "arguments beside x must be: r"),
    (np.ones((3, 4), F32), {"s": np.ones((3, 4))}, "arguments beside x must be: r"),
    (np.ones((3, 5), F32), {"r": np.ones((3, 4))}, r"x must have shape \[..., 4\]"),
    (np.float32(3), {"r": np.ones((3, 4))}, "x must be"),
    (np.ones((3, 4), F32), {"r": np.ones((2, 4))}, r"r must have shape \(3, 4\)"),
    (np.ones((3, 4), F32), {"r": np.ones((3, 4), complex)}, "r must be"),
    (np.ones((3, 4), F32), {"r": [[1.0] * 4] * 3}, "r must be"),
    (np.ones((3, 4), F32), {"r": np.ones((3, 4)), "threads": 0}, "threads"),
])  # fmt: skip
def test_arguments_that_do_not_fit_are_told(x, others, message):
    chain = dq.Chain({"a": step.LayerNorm(G, residual="r")})
    with pytest.raises((TypeError, ValueError), match=message):
        chain(x, **others)
