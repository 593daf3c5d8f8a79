"""Step `qa`: judges an adapter by the pictures it makes. The door is `step.run`."""
