"""Reductions over any axes, with an order of operations that is fixed."""
