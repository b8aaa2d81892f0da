"""Whole models beside other runtimes: each in a process of its own, in turn."""
