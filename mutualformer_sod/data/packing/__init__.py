"""Pack data sets into shards and unpack them."""
