"""What a search found, for programs and for people. Knows records and front.json; no torch, numpy or optuna."""
