"""Export dictionaries to the formats of other libraries, and load theirs (docs/exporting.md)."""
