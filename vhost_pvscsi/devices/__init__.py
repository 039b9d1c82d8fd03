"""Things that answer a request: logical units and what they keep."""
