"""SCSI devices of the host: found, named, followed. No command is ever sent to one from here."""
