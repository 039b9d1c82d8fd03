"""How a guest reaches us."""
