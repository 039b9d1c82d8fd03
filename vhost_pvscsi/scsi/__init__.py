"""SCSI alone: no virtio, no Xen, no files."""
