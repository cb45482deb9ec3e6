"""Write files atomically, with checksums and locks, and read configuration files."""
