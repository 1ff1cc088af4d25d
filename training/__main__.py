"""`python -m training` is `latens-train`."""

from __future__ import annotations

import sys

from training.cli import main

sys.exit(main())
