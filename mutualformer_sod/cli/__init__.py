"""Command lines: one module a command. Nothing imports this package."""
