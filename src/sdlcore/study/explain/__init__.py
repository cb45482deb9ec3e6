"""Search for the protocol behind the paper's numbers."""
