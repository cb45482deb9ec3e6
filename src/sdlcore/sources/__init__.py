"""Fill activation stores: from the bench, from language models, from images, from files."""
