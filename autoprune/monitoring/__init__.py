"""Finished models in production: whether what they see, what they answer and how long they take is as it was when they
were made. Knows calls of a model and its baseline; no searches.

drift       the sequential test of one stream of samples
agreement   how often the dense model says the same
allowance   what looking may take
lines       what was found, a line at a time, in files that rotate
exposition  the same as Prometheus reads it
endpoint    the same over HTTP, on loopback
monitor     the model with all of it around
"""
