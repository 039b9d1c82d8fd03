"""The rows of the table of commands, by subject."""
