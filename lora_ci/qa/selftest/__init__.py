"""The judge judged: in a world whose truth is known, how often is it right? The door is `run`."""
