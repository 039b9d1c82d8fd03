"""The control socket: QMP in front of whoever keeps hosts and LUNs."""
