"""What the end of a command of our own means."""

from vhost_pvscsi.devices.forwarded.asking import moved


def test_a_residual_of_more_than_the_transfer_is_an_overflow() -> None:
    assert [moved(512, left) for left in (0, 12, 512)] == [512, 500, 0]
    assert [moved(512, left) for left in (513, 3584, -1)] == [512, 512, 512]
