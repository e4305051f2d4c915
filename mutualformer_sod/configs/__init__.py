"""Options, presets and recipes of the network, the fusion methods and training runs."""
