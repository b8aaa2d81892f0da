"""The helper threads, how work is split among them, and scratch memory that is kept from call to call."""
