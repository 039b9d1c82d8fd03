"""Who has lost a device, and whose has come back."""

from tests.harness.host_devices import tape
from vhost_pvscsi.daemon.following.compare import Followed, Lost, Returned, compare

WWN = "5000c50015ea71ac"
HAD = tape("1:0:0:0", 10, wwn=WWN)


def follow(device=HAD, *, lost=False, who="unit"):
    return Followed(who, device, lost)


def test_what_is_there_is_left_alone():
    assert compare([follow()], [HAD]) == []
    assert compare([], [HAD]) == []


def test_what_has_gone_is_lost_once():
    assert compare([follow()], []) == [Lost("unit")]
    assert compare([follow(lost=True)], []) == []


def test_it_comes_back_under_another_address():
    back = tape("7:0:3:0", 20, wwn=WWN, sg=4)
    assert compare([follow(lost=True)], [back]) == [Returned("unit", back)]


def test_it_went_and_came_between_two_looks():
    back = tape("1:0:0:0", 11, wwn=WWN)
    assert compare([follow()], [back]) == [Lost("unit"), Returned("unit", back)]


def test_another_device_in_its_place_is_not_it():
    other = tape("1:0:0:0", 11, wwn="5000c50015ea71ad")
    assert compare([follow()], [other]) == [Lost("unit")]
    assert compare([follow(lost=True)], [tape("1:0:0:0", 11)]) == []


def test_a_serial_number_is_enough():
    had, back = tape("1:0:0:0", 1, serial="S1"), tape("2:0:0:0", 2, serial="S1")
    assert compare([follow(had, lost=True)], [back]) == [Returned("unit", back)]
    other = tape("2:0:0:0", 2, serial="S1", vendor="IBM")
    assert compare([follow(had, lost=True)], [other]) == []


def test_one_without_a_name_comes_back_where_it_was_only():
    had, here, there = tape("1:0:0:0", 1), tape("1:0:0:0", 2), tape("2:0:0:0", 3)
    assert compare([follow(had, lost=True)], [there]) == []
    assert compare([follow(had, lost=True)], [there, here]) == [Returned("unit", here)]
    other = tape("1:0:0:0", 2, product="LTO-8")
    assert compare([follow(had, lost=True)], [other]) == []


def test_it_is_back_when_it_has_its_node():
    early, ready = tape("7:0:3:0", 20, wwn=WWN, sg=None), tape("7:0:3:0", 20, wwn=WWN)
    assert compare([follow(lost=True)], [early]) == []
    assert compare([follow(lost=True)], [ready]) == [Returned("unit", ready)]


def test_nobody_gets_what_another_has():
    """Two paths to one device, each forwarded; one fails."""
    other = tape("2:0:0:0", 11, wwn=WWN, sg=1)
    both = [follow(HAD, who="a"), follow(other, who="b")]
    assert compare(both, [other]) == [Lost("a")]


def test_two_that_are_lost_get_one_each():
    other = tape("2:0:0:0", 11, wwn=WWN, sg=1)
    both = [follow(HAD, lost=True, who="a"), follow(other, lost=True, who="b")]
    back = [tape("3:0:0:0", 20, wwn=WWN), tape("4:0:0:0", 21, wwn=WWN)]
    assert compare(both, back) == [Returned("a", back[0]), Returned("b", back[1])]


def test_all_who_had_it_get_the_same_one():
    """A unit that stays, and an address of it that was removed."""
    both = [follow(lost=True, who="unit"), follow(lost=True, who="0:0:1:0")]
    back = tape("3:0:0:0", 20, wwn=WWN)
    assert compare(both, [back]) == [Returned("unit", back), Returned("0:0:1:0", back)]
