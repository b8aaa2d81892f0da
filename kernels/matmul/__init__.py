"""Products of two activations: quantized at run time, and of given integers."""
