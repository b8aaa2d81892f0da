"""y = x + x, element by element: the smallest whole operator. See tests/process/test_new_operator.py."""
