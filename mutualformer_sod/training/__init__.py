"""Training of a network, with validation, checkpoints, a run folder and several processes."""
