# How long the rest takes, on the line that says how many steps are done.
import time

import snakemake.logging

from sdlcore.study.configuration.plan import duration


def say_time_left():
    """Have Snakemake's line on progress say how long the rest takes at the pace of all steps so far.

    Its formatter is private: where there is none of that name, the line stays as it is."""
    formatter = getattr(snakemake.logging, "DefaultFormatter", None)
    plain = getattr(formatter, "format_progress", None)
    if plain is None or hasattr(plain, "began"):
        return
    began = time.monotonic()

    def format_progress(self, msg):
        done, left = msg["done"], msg["total"] - msg["done"]
        if not done or not left:
            return plain(self, msg)
        seconds = (time.monotonic() - began) / done * left
        return f"{plain(self, msg)}, {'less than a minute' if seconds < 60 else f'about {duration(seconds)}'} left at this pace"

    format_progress.began = began
    formatter.format_progress = format_progress
