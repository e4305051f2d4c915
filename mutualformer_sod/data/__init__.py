"""Data sets, from files on disk to tensors."""
