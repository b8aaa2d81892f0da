"""Elementwise regions: small graphs of ONNX operators, compiled to one loop each."""
