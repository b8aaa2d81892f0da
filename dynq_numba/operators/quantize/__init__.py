"""quantize and dequantize on their own."""
