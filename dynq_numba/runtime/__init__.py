"""What runs: the machine's features, the kernels there are, the instruction set in force, and the backend.

``backend`` is `compiled`, or `uncompiled` where NUMBA_DISABLE_JIT=1 leaves nothing to compile.
"""

from types import ModuleType

from ..kernels.jit import JIT_ENABLED
from . import compiled, uncompiled

backend: ModuleType = compiled if JIT_ENABLED else uncompiled
