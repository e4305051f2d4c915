"""Comparison of all fusion methods with one encoder, decoder, recipe and evaluation."""
