"""A trained dictionary: encode and decode, save, load and export it; its model card, and the folder of its run."""
