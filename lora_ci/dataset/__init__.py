"""Step `validate`: a dataset folder → findings, metrics, statistics."""
