"""What a model's results are worth: data, fidelity to the float model, looks at layers, proof of invariance."""

from .batches import Batch
from .checks import Check
from .comparing import compare
from .comparison import Comparison, LayerLooks
from .data import Data, read_data
from .fidelity import Fidelity
from .search import SearchRecord, search
from .verification import Verification, verify

__all__ = [
    "Batch", "Check", "Comparison", "Data", "Fidelity", "LayerLooks", "SearchRecord", "Verification", "compare",
    "read_data", "search", "verify",
]  # fmt: skip
