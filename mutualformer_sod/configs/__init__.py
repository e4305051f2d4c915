"""Options of the network, of each fusion method and of a training run; presets and recipes."""
