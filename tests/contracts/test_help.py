"""What a newcomer gets wrong is told in words that say what to do."""

import numpy as np
import pytest
from children import child

import dynq_numba as dq

F32 = np.float32


class Tensor:
    """Another library's array: as much of it as numpy asks for."""

    def __init__(self, array, complaint=None):
        self.array, self.complaint = array, complaint
        self.dtype, self.shape = f"other.{array.dtype}", array.shape

    dtype = shape = None

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        if self.complaint:
            raise BufferError(self.complaint)
        return self.array.__dlpack__(**options)


def test_arrays_of_other_libraries_are_taken_without_a_copy(rng):
    x, weight, bias = rng.standard_normal((3, 40), F32), rng.standard_normal((5, 40), F32), rng.standard_normal(5, F32)
    w = dq.pack_linear(weight, bias)
    assert dq.pack_linear(Tensor(weight), Tensor(bias)) == w
    assert (dq.linear(Tensor(x), w) == dq.linear(x, w)).all()
    assert (dq.softmax(Tensor(x)) == dq.softmax(x)).all()
    assert (dq.quantize(Tensor(x)).data == dq.quantize(x).data).all()
    assert (dq.embedding(Tensor(np.arange(3)), dq.pack_embedding(weight))).shape == (3, 40)
    assert np.shares_memory(dq.arguments.checks.float_array("x", Tensor(x)), x)


def test_one_that_numpy_cannot_take_names_what_to_do(rng):
    wrong = Tensor(rng.standard_normal((3, 40), F32), "it requires grad\nand more")
    with pytest.raises(TypeError) as told:
        dq.pack_linear(wrong)
    text = str(told.value)
    assert "weight must be a numpy array" in text and "Tensor of other.float32, shape (3, 40)" in text
    assert "it requires grad" in text and "more" not in text and "weight.detach().cpu().numpy()" in text
    x, w = np.ones((2, 40), F32), dq.pack_linear(np.ones((3, 40), F32))
    with pytest.raises(TypeError, match=r"out must be.*pass out.numpy\(\)"):
        dq.linear(x, w, out=Tensor(np.ones((2, 3), F32)))


def test_torch_tensors(rng):
    torch = pytest.importorskip("torch", reason="torch comes with the extra bench")
    weight = torch.nn.Linear(40, 5).weight  # a parameter: it requires grad
    x = torch.from_numpy(rng.standard_normal((3, 40), F32))
    w = dq.pack_linear(weight.detach())
    assert w == dq.pack_linear(weight.detach().numpy())
    assert (dq.linear(x, w) == dq.linear(x.numpy(), w)).all()
    for tensor in (x, weight.detach(), x.T, x[:, ::2], x.double()[1:]):
        array = dq.arguments.checks.plain("x", tensor, "an array")
        assert array.__array_interface__["data"][0] == tensor.data_ptr(), "the same memory"
        assert array.strides == tuple(step * tensor.element_size() for step in tensor.stride())
        assert (dq.softmax(tensor) == dq.softmax(tensor.numpy())).all()
    for wrong, why in ((weight, "Parameter of torch.float32.*gradient"), (x.bfloat16(), "Tensor of torch.bfloat16")):
        with pytest.raises(TypeError, match=rf"weight must be a numpy array of floats; got {why}") as told:
            dq.pack_linear(wrong)
        text = str(told.value)
        assert "weight.detach().cpu().numpy()" in text and "weight.detach().cpu().float().numpy()" in text
    assert dq.pack_linear(x.bfloat16().detach().cpu().float().numpy()).shape == (3, 40)


def test_a_transposed_weight_is_suspected():
    w = dq.pack_linear(np.ones((7, 40), F32))
    with pytest.raises(ValueError, match=r"weight\.T"):
        dq.linear(np.ones((2, 7), F32), w)
    with pytest.raises(ValueError, match=r"weight\.T"):
        dq.pack_linear(np.ones((7, 40), F32), np.ones(40, F32))
    for wrong in (np.ones((2, 8), F32), np.ones((), F32)):
        with pytest.raises(ValueError, match="40") as told:
            dq.linear(wrong, w)
        assert "weight.T" not in str(told.value)


@pytest.mark.parametrize("dtype", [np.int8, np.dtype(np.int8), np.dtype("|i1")])
def test_dtypes_may_be_given_as_numpy_s(dtype, rng):
    x = rng.standard_normal((3, 40), F32)
    assert (dq.quantize(x, dtype=dtype).data == dq.quantize(x, dtype="int8").data).all()
    with pytest.raises(ValueError, match="'uint8', 'int8'; got str 'int16'"):
        dq.quantize(x, dtype=np.int16)


SLOW = """
import numpy as np, dynq_numba as dq
from dynq_numba.runtime import compiling
compiling.PATIENCE, compiling.EVERY = 0, 1e9
def call(*names):
    for name in names:
        getattr(dq, name)(np.ones((2, 3), np.float32))
"""


def test_compiling_that_takes_long_is_told(tmp_path):
    def run(code, **environment):
        # portable has the least to compile
        given = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0", "DYNQ_ISA": "portable"}
        done = child("-c", code, **given, **environment)
        assert done.returncode == 0 and done.stdout == "", done.stderr
        return done.stderr

    with_two = SLOW + "call('silu', 'softmax')"
    assert run(SLOW + "with compiling.silently(): call('gelu')", DYNQ_QUIET="") == ""
    told = run(with_two, DYNQ_QUIET="")
    assert told.count("\n") == 1 and "`dynq warmup`" in told and str(tmp_path) in told
    often = SLOW.replace("1e9", "0") + "call('rms_norm', 'layer_norm')"
    first, *more = run(often, DYNQ_QUIET="").splitlines()
    assert "`dynq warmup`" in first and more and all("kernels compiled in" in line for line in more)
    assert run(with_two, DYNQ_QUIET="") == ""  # all of it was kept
    assert run(SLOW + "call('quantize')", DYNQ_QUIET="1") == ""


def test_info_is_one_screen_and_tells_whether_kernels_are_compiled(tmp_path, capsys):
    # The check of matrix registers would be compiled first.
    given = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0", "DYNQ_SELF_CHECK": "0"}

    def info(*options):
        done = child("-m", "dynq_numba", "info", *options, **given)
        assert done.returncode == 0 and done.stderr == ""
        return done.stdout

    cold = info()
    assert len(cold.splitlines()) < 24 and max(map(len, cold.splitlines())) <= 160
    for told in (dq.current_isa(), dq.__version__, "CPU", "cores", "L2", "cold: `dynq warmup`", " 0 of "):
        assert told in cold
    assert "__" not in cold and "\x1b" not in cold
    named = info("--kernels")
    more = len(named.splitlines()) - len(cold.splitlines())
    assert named.startswith(cold) and named.count(f"__{dq.current_isa()}\n") == more > 20
    done = child("-c", "import numpy as np, dynq_numba as dq; dq.quantize(np.ones((2, 3), np.float32))", **given)
    partly = info()
    assert done.returncode == 0 and " 1 of " in partly and "partly warm" in partly
    help_text = child("-m", "dynq_numba", "--help").stdout
    assert "dynq info" in help_text and "dynq inspect FILE" in help_text
