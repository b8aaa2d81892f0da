"""What runs: the machine's features, the kernels there are, the instruction set in force, threads and memory."""
