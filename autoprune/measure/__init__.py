"""How long models take, and how well that is known. Knows pairs, intervals and the device's quiet state."""
