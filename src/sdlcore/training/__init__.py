"""Training by gradient descent: the loop, its schedules, dead-latent resampling and checkpoints."""
