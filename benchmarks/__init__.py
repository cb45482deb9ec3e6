"""Speed and memory of a training step, and time to recovery, side by side with other libraries (see README.md)."""
