"""Which plans are evaluated, and what becomes of each. Knows trials; not how a sampler thinks."""
