"""Data sets: from files to tensors."""
