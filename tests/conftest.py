"""Settings that all tests share."""

import os
from pathlib import Path

import hypothesis
import torch

REPOSITORY = Path(__file__).parents[1]

# a shared machine pauses tests at will, so no example has a deadline
hypothesis.settings.register_profile("sdlcore", deadline=None)
hypothesis.settings.load_profile("sdlcore")
torch.set_num_threads(2)
# processes that tests start find the package as the pipeline's jobs do
os.environ["PYTHONPATH"] = str(REPOSITORY / "src")
