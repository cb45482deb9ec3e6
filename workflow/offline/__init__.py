"""What the default configuration needs where no model hub can be reached: a small CLIP, and pictures to train it on."""
