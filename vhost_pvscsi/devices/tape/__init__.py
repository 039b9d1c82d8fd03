"""The tape: a drive with an image in SIMH's format."""
