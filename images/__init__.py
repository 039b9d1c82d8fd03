"""The guest and the QEMUs it is tried with: made from Debian's packages, installed nowhere."""
