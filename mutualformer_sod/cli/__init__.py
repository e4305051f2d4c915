"""Command lines: one module per command. Nothing imports this package."""
