"""Where results are shown: a git host, or a folder."""
