"""Settings, runs and file paths of a study."""
