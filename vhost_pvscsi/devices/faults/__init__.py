"""Faults on demand: commands that fail, hang or tell lies because somebody asked for it."""
