"""The SQL ledger: runs, steps, records. The only room that speaks SQL."""
