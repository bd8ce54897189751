"""One search from its first look at the device to its written front. Knows the order of stages."""
