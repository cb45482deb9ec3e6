"""Odd files and configurations from a seeded stream, passed to the functions that read users' files."""
