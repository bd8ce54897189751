"""Healing a model after the cut: statistics, then fine-tuning. Knows tasks; not plans or searches."""
