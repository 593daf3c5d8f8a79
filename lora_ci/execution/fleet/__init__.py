"""A fleet of GPUs and the LoRAs of days, in seconds: real queue and reconciler, virtual time."""
