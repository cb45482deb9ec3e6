"""The command line, ``sdlcore COMMAND``: what notebooks do, on files. A command is a function and its docstring."""
