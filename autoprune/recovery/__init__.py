"""Repairs of a cut model in closed form, before anything is trained."""
