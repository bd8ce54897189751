"""One machine and its models: prepare, run in blocks, watch what disturbs. Knows one process; nothing of searches."""
