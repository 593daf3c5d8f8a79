"""Step `train`: a dataset and a base model → an adapter. Resumable at any step, bit by bit."""
