"""`changer`: libraries of tapes, for people."""
