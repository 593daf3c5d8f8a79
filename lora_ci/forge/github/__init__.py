"""GitHub as a forge: `open.py` is the door."""
