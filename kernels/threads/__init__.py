"""The helper threads, how work is cut for them, and scratch memory that is kept from call to call."""
