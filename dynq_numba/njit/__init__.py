"""What the overloads for ``numba.njit`` share."""
