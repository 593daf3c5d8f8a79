"""Captions by models: what several say of a picture becomes one caption, with its provenance."""
