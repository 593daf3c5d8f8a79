"""The main flow: `handle` reads as the arrow of the architecture. Every door calls it."""
