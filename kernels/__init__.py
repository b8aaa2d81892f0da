"""All compiled functions of the package. They take and give plain arrays and addresses. No policy, no I/O.

    ground         base/         compilation options, the disk cache, typed memory, atomics, contexts
                   isa/          instruction sets, one per file, and what they are written with
    shared         objects/      arrays and Python objects in compiled code
                   threads/      the pool of helpers, how work is split among them, scratch memory
                   activations/  float32 exp, tanh, erf, gelu …
                   gemm/         the tile that linear, matmul and conv multiply with, its operands and epilogue
    operators      quantize/  linear/  matmul/  conv/  attention/  recurrent/  embedding/  rowwise/
                   chain/        several of them as one call

A file's name is its role, the same in every folder: `reference.py` defines in numpy every result, bit for
bit; `emit*.py` writes LLVM IR; `intrinsics.py` makes numba intrinsics of it; `worker.py` does one task on one thread;
`context.py` is how a call tells it what to do; `call.py` goes from arrays to threads; `vectorcall.py` and `entry.py`
do the same from CPython's objects; `njit_arguments.py` prepares the arrays of jitted callers.
"""
