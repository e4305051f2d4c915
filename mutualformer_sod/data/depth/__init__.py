"""Depth encoding (units, polarity, holes) and conversion of depth to [0, 1], near = 1."""
