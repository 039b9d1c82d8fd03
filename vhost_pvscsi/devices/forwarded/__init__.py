"""SCSI devices of the host: commands are forwarded to them."""
