"""Rewriting what a guest must not see or say."""
