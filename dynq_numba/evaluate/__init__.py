"""What a model's results are worth: data, fidelity to the float model, looks at layers, proof of invariance."""

from .comparing import compare
from .comparison import Comparison, LayerLooks
from .data import Batch, Data, read_data
from .fidelity import Fidelity

__all__ = ["Batch", "Comparison", "Data", "Fidelity", "LayerLooks", "compare", "read_data"]
