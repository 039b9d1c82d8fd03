"""The CD and DVD drive: a disc image behind a tray."""
