"""The bot's door to the network: webhooks come in, report pages go out."""
