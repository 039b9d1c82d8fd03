"""The emulated disk: its blocks are the engine's, everything else is answered here."""
