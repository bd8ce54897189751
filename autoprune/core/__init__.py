"""Frozen records that every floor shares. Knows the standard library only: no torch, numpy, optuna or ray."""
