"""`top`: what LUNs do now, from two answers of the daemon."""
