"""The back-end program: owns adapters, sockets and signals."""
