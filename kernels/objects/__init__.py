"""Arrays and Python objects as compiled code meets them."""
