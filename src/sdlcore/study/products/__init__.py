"""Tables and figures: which runs each needs, and how it is made."""
