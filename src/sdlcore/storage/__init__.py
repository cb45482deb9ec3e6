"""Write files whole or not at all, add checksums, note what made them, and digest code."""
