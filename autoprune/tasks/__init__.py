"""A task is the user's model, data and metric. Knows the contract and how tasks are found; nothing about pruning."""
