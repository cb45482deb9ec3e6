"""Codes by search: find them, improve decoder rows with them, and fit encoders that imitate them."""
