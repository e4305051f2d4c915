"""Measure speed, memory and operation counts."""
