"""Train dictionaries with other libraries on sdlcore's activation stores, and convert them (docs/peers.md)."""
