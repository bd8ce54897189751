"""The public surface: `search`, `prune`, `profile`, `load`. Knows how the floors below fit together."""
