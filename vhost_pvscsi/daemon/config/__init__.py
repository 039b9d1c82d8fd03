"""The configuration file: what should be there, and how to say it."""
