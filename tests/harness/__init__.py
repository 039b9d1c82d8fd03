"""A QEMU pytest plugin: boots guests, runs commands in them, keeps evidence of failures."""
