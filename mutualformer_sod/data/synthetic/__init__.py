"""Generated RGB-D scenes with ground truth."""
