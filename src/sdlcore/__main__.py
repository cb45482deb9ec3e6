"""The command `sdlcore` as a module, which torchrun can start: ``torchrun --nproc-per-node 2 -m sdlcore fit ...``."""

from sdlcore.commands.main import main

if __name__ == "__main__":
    main()
