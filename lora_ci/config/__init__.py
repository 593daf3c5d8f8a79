"""`.lora-ci.yml` → `Config`, with a source line for every value and all errors in one go."""
