"""What linear layers run on: the kernels, or under NUMBA_DISABLE_JIT=1 the numpy reference."""

from ...runtime.backend import choose
from . import backend_compiled, backend_reference

_chosen = choose(backend_compiled, backend_reference)
Layout, linear, linear_many = _chosen.Layout, _chosen.linear, _chosen.linear_many
prepare_post_ops = _chosen.prepare_post_ops
quantize_weight, search_groups = _chosen.quantize_weight, _chosen.search_groups
