"""Give depth values a meaning: units, polarity, encoding, holes."""
