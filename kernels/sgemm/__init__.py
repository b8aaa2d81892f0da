"""Float32 matrix products with a fixed order of sums."""
