"""Step `optimize`: how an adapter is best used. The door is `step.run`."""
