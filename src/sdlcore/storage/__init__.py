"""Write files atomically, add checksums, record provenance, and digest source code."""
