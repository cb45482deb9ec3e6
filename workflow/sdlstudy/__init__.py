"""The reproduction of the paper: which runs it needs, how they are judged and shown. The library never imports it."""
