"""The verbs for a running daemon: what they ask goes through its control socket."""
