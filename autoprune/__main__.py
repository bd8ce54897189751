"""`python -m autoprune`."""

import sys

from autoprune.cli import main

if __name__ == "__main__":
    sys.exit(main())
