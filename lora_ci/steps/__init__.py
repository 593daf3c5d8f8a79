"""The step runner: `spec.json` in, `result.json` and artifacts out; no SQL, no forge, no queue."""
