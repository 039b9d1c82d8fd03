"""What can be asked of a running daemon: declared here, served by `daemon`, typed by `cli`."""
