"""Float32 convolution with a fixed order of sums."""
