"""What of each theorem was checked over how many instances, and what came out."""
