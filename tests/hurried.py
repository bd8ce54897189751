"""The command line, whose measuring is soon content: `python tests/hurried.py search ...`.

Beside the other half of the tests no machine is quiet, and whatever is measured would take as long as it may.
"""

import sys

from autoprune.measure import limits

#: Measuring that is soon content.
LIMITS = limits.Limits(wait_s=0.2, cap_s=0.4, certify_s=3.0)

if __name__ == "__main__":
    from autoprune.cli import main

    limits.USUAL = LIMITS
    sys.exit(main())
