"""Find the samples of a data set: benchmark names, folders, pairing, splits, fingerprints."""
