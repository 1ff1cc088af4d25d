"""`python -m latens_export` is `latens-export`."""

from __future__ import annotations

import sys

from latens_export.cli import main

if __name__ == "__main__":
    sys.exit(main())
