"""Trainers of others, run as processes."""
