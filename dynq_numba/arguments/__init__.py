"""What public functions share: every check of an argument once; matrices and where results go."""
