"""Releases adapters: versions, signed manifests, stores, channels; and takes them out again."""
