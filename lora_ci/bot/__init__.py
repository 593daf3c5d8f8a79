"""The bot: deliveries → jobs → processes, each once whatever dies in between."""
