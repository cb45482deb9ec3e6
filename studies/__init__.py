"""Studies whose tables are kept in resources/kept: see README.md."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "workflow"))  # sdlstudy and peers, which are not installed

KEPT = Path(__file__).parents[1] / "resources/kept"
"""The folder of the tables."""
