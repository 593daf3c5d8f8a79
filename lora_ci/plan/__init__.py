"""`Config`, facts of a commit and records → `Plan`. Pure: holds no connection, reads no file."""
