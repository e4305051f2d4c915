"""Saliency maps from arrays, data sets, pictures and videos; export of the network."""
