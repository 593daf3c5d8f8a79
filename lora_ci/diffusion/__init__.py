"""Base models: load, attach an adapter, generate pictures. No network, no global settings."""
