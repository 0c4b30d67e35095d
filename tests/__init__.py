"""The tests; helper modules are imported as `tests.<folder>.<name>`."""
