"""Write files whole or not at all, seal them, note what made them, and digest code."""
