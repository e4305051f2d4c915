"""Command lines: one module per command. Only ``__main__`` and ``tools`` import this package."""
