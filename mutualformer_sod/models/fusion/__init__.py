"""The fusion methods, one a file; all of them turn the taps of two streams into decoder maps."""
