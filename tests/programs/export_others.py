"""Write tests/models/files/keras_*.onnx and jax_*.onnx: layers of Keras by tf2onnx, of flax by jax2onnx.

    python tests/programs/export_others.py keras      # needs tensorflow-cpu and tf2onnx
    python tests/programs/export_others.py jax        # needs jax2onnx, which brings flax

Written by TensorFlow 2.21, Keras 3.15, tf2onnx 1.17; JAX 0.10, flax 0.12, jax2onnx 0.17. tests/support/spellings.py
says what each is to become. Keras' GELU by erf is missing: tf2onnx 1.17 has nothing for TensorFlow's Erfc.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

FOLDER = Path(__file__).parents[1] / "models" / "files"


def store(name: str, model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    path = FOLDER / f"{name}.onnx"
    onnx.save(model, path)
    print(f"{path.stat().st_size:7} {name}", flush=True)


def by_keras() -> None:
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras import layers as of

    def whole(shape: tuple[int | None, ...], *layers: Callable[[Any], Any]) -> Any:
        x = y = keras.Input(shape)
        for layer in layers:
            y = layer(y)
        return keras.Model(x, y)

    rows, image, random = (None, 16), (16, 16, 3), {"gamma_initializer": "uniform", "beta_initializer": "uniform"}
    heads, groups = of.MultiHeadAttention(2, 8), of.GroupQueryAttention(8, 4, 2)
    models = {
        "norms": (rows, of.LayerNormalization(**random), of.RMSNormalization()),
        "activations": (rows, of.Lambda(lambda x: tf.nn.gelu(x, approximate=True)), of.Activation("silu")),
        "dense": (rows, of.Dense(16, "silu"), of.EinsumDense("abc,cd->abd", (None, 16), bias_axes="d")),
        "attention": (rows, lambda x: heads(x, x)),
        "causal": (rows, lambda x: heads(x, x, use_causal_mask=True)),
        "grouped": (rows, lambda x: groups(x, x)),
        "lstm": (rows, of.Bidirectional(of.LSTM(8, return_sequences=True))),
        "gru": (rows, of.GRU(8, return_sequences=True)),
        "conv": (image, of.Conv2D(8, 3, padding="same", strides=2, use_bias=False), of.BatchNormalization(),
                 of.ReLU(6.0), of.DepthwiseConv2D(3, padding="same"), of.PReLU(shared_axes=[1, 2]), of.Conv2D(8, 1),
                 of.GroupNormalization(4), of.GlobalAveragePooling2D(), of.Dense(5, "softmax")),
    }  # fmt: skip
    for name, (shape, *layers) in models.items():
        keras.utils.set_random_seed(0)
        model = whole(shape, *layers)
        signature = [tf.TensorSpec((None, *shape), tf.float32, name="x")]
        function = tf.function(lambda x, model=model: model(x), input_signature=signature)
        store(f"keras_{name}", tf2onnx.convert.from_function(function, input_signature=signature, opset=17)[0])


def by_jax() -> None:
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from jax2onnx import to_onnx

    seed = nnx.Rngs(0)

    class Attention(nnx.Module):
        """Written out with einsum."""

        def __init__(self, causal: bool) -> None:
            self.query, self.key, self.value, self.out = (nnx.Linear(16, 16, rngs=seed) for _ in range(4))
            self.causal = causal

        def __call__(self, x: Any) -> Any:
            q, k, v = (each(x).reshape(-1, 5, 2, 8) for each in (self.query, self.key, self.value))
            scores = jnp.einsum("bthd,bshd->bhts", q, k) / 8**0.5
            if self.causal:
                scores = jnp.where(jnp.tril(jnp.ones((5, 5), bool)), scores, -1e30)
            y = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores, axis=-1), v)
            return self.out(y.reshape(-1, 5, 16))

    class Sequence(nnx.Module):
        def __init__(self, *layers: Callable[[Any], Any]) -> None:
            self.layers = nnx.List(layers)

        def __call__(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return x

    rows, image, dense = ("B", 5, 16), ("B", 8, 8, 3), nnx.Linear(16, 16, rngs=seed)
    models = {
        "norms": (rows, Sequence(nnx.LayerNorm(16, rngs=seed), nnx.RMSNorm(16, rngs=seed))),
        "activations": (rows, lambda x: jax.nn.silu(jax.nn.gelu(jax.nn.gelu(x, approximate=False)))),
        "dense": (rows, lambda x: jax.nn.silu(dense(x)) + x),
        "heads": (rows, nnx.LinearGeneral(16, (2, 8), rngs=seed)),
        "attention": (rows, nnx.MultiHeadAttention(2, 16, rngs=seed, decode=False)),
        "einsum": (rows, Attention(False)),
        "causal": (rows, Attention(True)),
        "conv": (image, Sequence(
            nnx.Conv(3, 8, (3, 3), rngs=seed), nnx.BatchNorm(8, use_running_average=True, rngs=seed), jax.nn.relu,
            nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=seed), nnx.GroupNorm(8, num_groups=4, rngs=seed))),
    }  # fmt: skip
    for name, (shape, function) in models.items():
        store(f"jax_{name}", to_onnx(function, inputs=[shape], opset=20, return_mode="proto"))


if __name__ == "__main__":
    {"keras": by_keras, "jax": by_jax}[sys.argv[1]]()
