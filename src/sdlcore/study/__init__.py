"""The reproduction of the paper: which runs it takes, how they are judged and shown. The library never imports it."""
