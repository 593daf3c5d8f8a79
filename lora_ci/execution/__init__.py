"""Moves a run's steps from waiting to ended, on whatever machine the executor stands for."""
