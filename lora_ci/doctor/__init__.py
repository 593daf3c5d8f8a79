"""Looks at a machine before a run does: `examine` what `checks_of` lists."""
