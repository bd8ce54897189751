"""From raw blocks to numbers one can trust. Knows statistics, pairing and locking; runtimes are plug-ins."""
