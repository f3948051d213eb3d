"""Where models come from: the hub, buckets, directories."""
