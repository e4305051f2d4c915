"""Predict saliency maps of arrays, data sets, pictures and videos, and export the network."""
