"""Pruned models on disk: `plan.json`, `model.safetensors`, `README.md`. Knows how to write, check and rebuild them."""
