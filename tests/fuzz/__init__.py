"""Odd files and configurations out of a seeded stream, given to the entry points that users' own files come in by."""
