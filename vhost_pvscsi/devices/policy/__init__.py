"""Which commands a guest may send to a LUN."""
