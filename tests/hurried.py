"""The command line, whose measuring is soon content: `python tests/hurried.py search ...`.

Beside the other half of the tests no machine is quiet, and whatever is measured would take as long as it may.
"""

import sys

from autoprune.measure import session

#: Seconds that a quiet machine is waited for each time, and by all candidates; seconds of measuring a candidate.
LIMITS = {"_WAIT_S": 0.2, "_PATIENCE_S": 1.0, "_CAP_S": 0.4}

if __name__ == "__main__":
    from autoprune.cli import main

    vars(session).update(LIMITS)
    sys.exit(main())
