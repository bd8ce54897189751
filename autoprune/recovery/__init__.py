"""Repairs of a cut model in closed form, and by a few steps without labels, before anything is fine-tuned."""
