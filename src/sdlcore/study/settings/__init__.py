"""What a study is made of: settings, runs, and where files lie."""
