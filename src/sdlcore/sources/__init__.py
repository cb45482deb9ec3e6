"""Fill activation stores from the bench, language models, images and files."""
