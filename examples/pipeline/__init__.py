"""A worked pipeline: a classifier of reviews is quantized, and gated before it ships."""
