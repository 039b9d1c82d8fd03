"""What SPC asks of every unit that is emulated: state, mode pages, reservations, reports."""
