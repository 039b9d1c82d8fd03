"""Xen guests: the pvSCSI ring, handed over by a socket (docs/pvscsi-socket.md)."""
