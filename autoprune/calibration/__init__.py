"""One pass over the calibration split: what criteria and repairs need to know of it."""
