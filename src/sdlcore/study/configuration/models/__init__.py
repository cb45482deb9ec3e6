"""The definition of every setting of a configuration: meaning, range, default, who uses it."""
