"""Searching over settings: what a matrix comes to, which variants to go on with, which is best."""
