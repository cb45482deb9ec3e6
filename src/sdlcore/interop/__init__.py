"""Write dictionaries in other libraries' formats, and read theirs (docs/exporting.md)."""
