"""Recorded values → text: terminal, comment, page. Pure; knows only `core`."""
