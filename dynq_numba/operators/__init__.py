"""The operators: a folder each, with the same file names for the same roles."""
