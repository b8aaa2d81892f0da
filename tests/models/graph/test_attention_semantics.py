"""What Attention of opsets 23 to 25 means, beside an oracle in float64 of its own: onnx changed it after its release.

logits  = scale·Q·Kᵀ ─▶ softcap·tanh(logits/softcap) ─▶ + mask, causal and window: -∞ ─▶ softmax, 0 in a row of -∞
causal  query i sees key j ≤ i + before, window j from i + before - left to i + before + right
before  the length of the past; of keys that are padded (opset 24) their number in a batch - queries; else 0
"""

import numpy as np
import pytest
from onnx_models import floats, parsed

from dynq_numba.onnx import InferenceSession


def attention(q, k, v, mask=None, before=0, keys=None, cap=0.0, causal=False, left=-1, right=-1):
    """Of [B, H, S, D] and [B, H, T, D]; `before` and `keys` are numbers, or one of each batch."""
    q, k, v = (each.astype(np.float64) for each in (q, k, v))
    logits = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if cap:
        logits = cap * np.tanh(logits / cap)
    if mask is not None:
        logits = logits + mask
    b, _, s, t = logits.shape
    place = np.arange(s)[:, None] + np.broadcast_to(before, b)[:, None, None]
    there = np.arange(t) < np.broadcast_to(t if keys is None else keys, b)[:, None, None]
    seen = np.broadcast_to(there, (b, s, t)).copy()
    if causal:
        seen &= np.arange(t) <= place
    if left >= 0:
        seen &= place - left <= np.arange(t)
    if right >= 0:
        seen &= np.arange(t) <= place + right
    logits = np.where(seen[:, None], logits, -np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp(logits - np.where(np.isfinite(most := logits.max(-1, keepdims=True)), most, 0))
        weights = np.where((total := e.sum(-1, keepdims=True)) > 0, e / total, 0)
    return weights @ v


def check(text, inputs, want, opset, feeds):
    model = parsed(inputs, "float y", text, opset=opset)
    for value in model.graph.input:
        value.type.tensor_type.shape.SetInParent()
    session = InferenceSession(model)
    np.testing.assert_allclose(session.run(None, feeds)[0], want, rtol=2e-5, atol=2e-6)
    assert not any(step.kind == "python" for step in session.report())


Q, K, V = floats(2, 3, 5, 8), floats(2, 3, 7, 8, seed=1), floats(2, 3, 7, 8, seed=2)
GIVEN = "float[b, h, s, d] q, float[b, h, t, d] k, float[b, h, t, d] v"
FEEDS = {"q": Q, "k": K, "v": V}


@pytest.mark.parametrize("opset", (23, 24, 25))
def test_softcap_is_before_the_mask(opset):
    mask = 3 * floats(5, 7, seed=3)
    text = "y = Attention <softcap = 0.5> (q, k, v, m)"
    want = attention(Q, K, V, mask, cap=0.5)
    assert not np.allclose(want, attention(Q, K, V, cap=0.5), atol=1e-2)
    check(text, f"{GIVEN}, float[s, t] m", want, opset, FEEDS | {"m": mask})


@pytest.mark.parametrize("opset", (23, 24, 25))
def test_causal_without_a_past_is_from_the_first_key_on(opset):
    check("y = Attention <is_causal = 1> (q, k, v)", GIVEN, attention(Q, K, V, causal=True), opset, FEEDS)


@pytest.mark.parametrize("opset", (23, 24, 25))
def test_causal_with_a_past_is_behind_it(opset):
    past_k, past_v = floats(2, 3, 4, 8, seed=4), floats(2, 3, 4, 8, seed=5)
    k, v = np.concatenate([past_k, K[:, :, :5]], 2), np.concatenate([past_v, V[:, :, :5]], 2)
    inputs = f"{GIVEN}, float[b, h, p, d] pk, float[b, h, p, d] pv"
    text = 'y, nk, nv = Attention <is_causal = 1> (q, k, v, "", pk, pv)'
    feeds = {"q": Q, "k": K[:, :, :5].copy(), "v": V[:, :, :5].copy(), "pk": past_k, "pv": past_v}
    check(text.replace('""', ""), inputs, attention(Q, k, v, before=4, causal=True), opset, feeds)


@pytest.mark.parametrize("opset", (24, 25))
def test_causal_with_padded_keys_ends_at_the_last_one(opset):
    lengths = np.array([5, 7])
    want = attention(Q, K, V, before=lengths - 5, keys=lengths, causal=True)
    text = "y = Attention <is_causal = 1> (q, k, v, , , , n)"
    check(text, f"{GIVEN}, int64[b] n", want, opset, FEEDS | {"n": lengths})


@pytest.mark.parametrize("left, right", [(2, -1), (2, 0), (1, 1), (-1, 2)])
def test_windows_are_around_the_place_of_a_query(left, right):
    text = f"y = Attention <left_window_size = {left}, right_window_size = {right}> (q, k, v)"
    check(text, GIVEN, attention(Q, K, V, left=left, right=right), 25, FEEDS)
