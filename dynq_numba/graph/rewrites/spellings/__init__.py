"""One form of what can be written in several ways, so that other rewrites meet only that."""
