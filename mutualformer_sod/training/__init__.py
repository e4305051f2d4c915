"""Train a network, with updates, validation, checkpoints, run folder and several processes."""
