"""`python -m latens_training` is `latens-train`."""

from __future__ import annotations

import sys

from latens_training.cli.main import program

sys.exit(program())
