"""The tile that linear, matmul and conv multiply with, what it reads, and its epilogue."""
