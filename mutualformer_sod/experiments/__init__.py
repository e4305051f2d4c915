"""The fusion comparison: one encoder, decoder, recipe and evaluation for all fusion methods."""
