"""Methods and studies outside of the package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "workflow"))  # sdlstudy, which is not installed
