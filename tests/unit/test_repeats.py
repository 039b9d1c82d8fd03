"""Things that recur are told once a while, with how often they were not told."""

from vhost_pvscsi.repeats import PAUSE, Repeats, more


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_once_in_a_while_with_the_number_between():
    clock = Clock()
    repeats = Repeats(clock)
    assert [repeats.happened("a") for _ in range(3)] == [0, None, None]
    assert repeats.happened("b") == 0
    clock.now = PAUSE
    assert [repeats.happened("a") for _ in range(2)] == [2, None]
    assert (more(0), more(2)) == ("", "; 2 more since the last line")


def test_what_is_forgotten_is_told_again():
    repeats = Repeats(Clock())
    for key in ("a", "b"):
        repeats.happened(key)
    repeats.forget(lambda key: key == "a")
    assert (repeats.happened("a"), repeats.happened("b")) == (0, None)


def test_the_memory_of_it_is_bounded():
    repeats = Repeats(Clock())
    for key in range(5000):
        assert repeats.happened(key) == 0
    assert repeats.happened(4999) is None
    assert repeats.happened(0) == 0
