"""Find dictionaries without gradient descent: alternating convex search and classical dictionary learning."""
