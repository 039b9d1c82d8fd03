"""A userspace SCSI host for guests: vhost-user-scsi for stock QEMU, pvSCSI for Xen."""
