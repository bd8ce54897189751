"""What is believed of plans that were not evaluated: predictions, refitted to observations, and the plans they
favour."""
