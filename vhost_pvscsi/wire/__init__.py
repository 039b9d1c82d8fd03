"""Bytes to values and back. No I/O; the home of construct."""
