"""The values that cross rooms. Standard library and msgspec only; no I/O but digests of files."""
