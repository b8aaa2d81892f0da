"""What public functions share: each check of an argument, once; matrices, and where results are written."""
