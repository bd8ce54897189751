"""What the calibration split says of a dense model, gathered in streamed passes: moments, gradients, scores."""
