"""Folders of other trainers → a config of ours: `import_kohya`."""
