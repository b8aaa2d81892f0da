"""Arrays and Python objects in compiled code."""
