"""What is believed of plans that were not evaluated: predictions, refitted to evidence, and the plans they favour."""
