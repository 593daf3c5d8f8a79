"""Adapter files: read, write, convert, check and compare. Knows no base model."""
