"""Depth encoding: units, polarity, holes; conversion to [0, 1], near = 1."""
