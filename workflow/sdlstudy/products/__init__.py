"""Tables and figures of the pipeline: which runs each needs, and how it is made."""
