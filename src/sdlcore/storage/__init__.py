"""Files that are whole or absent, their checksums, and digests of the code that made them."""
