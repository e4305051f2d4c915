"""Training samples as tensors: dataset, loader, augmentation, cache."""
