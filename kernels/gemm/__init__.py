"""The tile of linear, matmul and conv: its operands and its epilogue."""
