"""Hostile files, made by code: nothing of them is kept in the repository."""
