"""What a configuration means: its runs, their settings, what is wrong with it, what it costs."""
