"""Pack data sets into shards and read them back."""
