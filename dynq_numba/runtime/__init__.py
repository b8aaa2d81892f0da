"""What runs: the machine's features, the kernels there are, the instruction set in force, and the backend.

``backend`` is `compiled`, or `uncompiled` where NUMBA_DISABLE_JIT=1 leaves nothing to compile.
"""

from types import ModuleType

from ..kernels.base.jit import JIT_ENABLED
from ..operators.linear import backend as compiled
from ..operators.linear import backend_reference as uncompiled

backend: ModuleType = compiled if JIT_ENABLED else uncompiled
