"""Other libraries' own trainers on our activation stores, their dictionaries turned into ours (docs/peers.md)."""
