"""Programs that measure; each prints one table. How and what: docs/benchmarks.md."""
