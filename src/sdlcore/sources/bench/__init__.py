"""The Linear Representation Bench (Appendix C): synthetic representations with known true features."""
