"""Runs on disk. Knows files, locks and the journal; no torch, no models."""
