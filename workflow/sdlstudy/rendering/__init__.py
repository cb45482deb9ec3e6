"""Format tables and style figures, all from data frames."""
