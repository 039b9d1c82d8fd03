"""`tape`: images of tapes, for people."""
