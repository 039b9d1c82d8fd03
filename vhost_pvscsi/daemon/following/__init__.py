"""Following: LUNs of SCSI devices of the host that go away, come back, or are new."""
