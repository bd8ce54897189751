"""Epochs of a model that is pruned already: teacher, distillers, regularizers, rate, checkpoints. Knows no schedule."""
