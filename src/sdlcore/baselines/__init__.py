"""Train dictionaries by other libraries on our activation stores, and convert them to our models (docs/peers.md)."""
