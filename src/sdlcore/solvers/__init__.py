"""What is not gradient descent: alternating convex search and classical dictionary learning."""
