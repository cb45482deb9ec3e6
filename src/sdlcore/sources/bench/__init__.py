"""The Linear Representation Bench (Appendix C): representations whose true features are known."""
