"""Series of measurements, and their comparison: `nox -s bench`."""
