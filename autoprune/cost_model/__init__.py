"""What plans cost without running them: units of work, the table of a device, and sums over variables."""
