"""Every compiled function of the package. Plain arrays and addresses in and out; no policy, no I/O.

    jit.py          compilation options and the disk cache
    memory.py       typed loads, stores and calls through pointers
    emit/           the only place with LLVM IR that computes: vectors, one file per family of instruction sets,
                    the tile skeleton and how it reads weights, row quantization
    portable.py     the tile for any CPU, in plain loops
    weights.py      weights to integers              pack.py      integers to panels
    long_k.py       the tile for very long K
    linear.py       the fused linear's worker        call.py      from arrays to running workers
    integer.py      exact int8 products              quantize.py  quantize and dequantize on their own
    activations.py  float32 exp, tanh, erf …         finish.py    what is fused behind a tile
    context.py      what a worker is told           arrays.py    helpers for jitted callers
    blocking.py     how a product is cut             parallel.py  the helpers, and sharing with them
    reference.py    the numpy twin of everything: the normative meaning (reference_activations.py: of activations.py)
"""
