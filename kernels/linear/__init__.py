"""The fused linear: quantize rows, multiply, epilogue."""
