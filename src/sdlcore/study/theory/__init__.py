"""The paper's theorems as executable statements: both sides of each, what was observed, and whether it holds."""
