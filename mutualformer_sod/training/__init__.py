"""Train a network: steps, optimiser, validation, checkpoints, run folder, several processes."""
