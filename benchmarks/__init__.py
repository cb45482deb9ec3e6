"""Speed and memory of a training step, side by side with other libraries (see README.md)."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "workflow"))  # sdlstudy, which is not installed
