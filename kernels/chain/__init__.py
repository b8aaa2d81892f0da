"""Row-wise operators, one after another, as one call."""
