"""Artifacts by digest. What comes out is what went in, or an error says so."""
