"""The translation table."""

import pytest

from vhost_pvscsi.devices.absent import ABSENT_TARGET, ABSENT_UNIT, AbsentUnit
from vhost_pvscsi.devices.presentation import PLAIN, Presentation
from vhost_pvscsi.devices.well_known import WELL_KNOWN_UNIT
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.translation import NO_MAPPING, Table


class Unit(AbsentUnit):
    def __init__(self, name):
        self.name = name


ONE, TWO = Unit("/srv/old.img"), Unit("two.img")


def address(target, lun, host=0):
    return Address(host, 0, target, lun)


@pytest.fixture
def table():
    return Table(0).attach(address(1, 5), ONE, 10).attach(address(1, 2), TWO, 11)


def test_what_is_attached_is_found_with_its_siblings(table):
    mapping = table.resolve(1, 5)
    assert (mapping.id, mapping.unit, mapping.siblings) == (10, ONE, (2, 5))
    assert mapping.address == address(1, 5)
    assert table.by_id(10, 1, 5) == mapping
    assert [found.id for found in table] == [11, 10]
    assert len(table) == 2


def test_an_absent_lun_of_a_target_that_has_others_answers(table):
    for lun in (0, 3, 16383):
        mapping = table.resolve(1, lun)
        assert (mapping.id, mapping.unit, mapping.siblings) == (NO_MAPPING, ABSENT_UNIT, (2, 5))


def test_every_target_has_the_well_known_unit(table):
    mapping = table.resolve(1, 0xC101)
    assert (mapping.id, mapping.unit, mapping.siblings) == (NO_MAPPING, WELL_KNOWN_UNIT, (2, 5))
    assert table.resolve(7, 0xC101).unit is ABSENT_TARGET


def test_a_unit_is_shown_as_it_was_attached(table):
    shown = Presentation(serial="HERE")
    after = table.attach(address(1, 7), ONE, 12, shown)
    assert after.resolve(1, 7).presentation is shown
    assert after.by_id(12, 1, 7).presentation is shown
    assert after.resolve(1, 5).presentation is PLAIN


def test_a_target_without_luns_is_absent(table):
    mapping = table.resolve(0, 0)
    assert (mapping.unit, mapping.siblings) == (ABSENT_TARGET, ())
    assert Table(0).resolve(255, 16383).unit is ABSENT_TARGET


def test_tables_do_not_change(table):
    before = list(table)
    after = table.detach(address(1, 2)).attach(address(9, 0), TWO, 12)
    assert list(table) == before
    assert after.generation == table.generation + 2
    assert after.resolve(1, 5).siblings == (5,)
    assert table.resolve(9, 0).unit is ABSENT_TARGET


def test_the_last_lun_takes_its_target_along():
    table = Table(0).attach(address(1, 0), ONE, 1).detach(address(1, 0))
    assert table.resolve(1, 0).unit is ABSENT_TARGET
    assert len(table) == 0


def test_a_request_does_not_move_to_a_unit_that_came_to_its_address(table):
    later = table.detach(address(1, 5)).attach(address(1, 5), TWO, 12)
    assert later.by_id(10, 1, 5).unit is ABSENT_UNIT
    assert later.by_id(NO_MAPPING, 1, 5).unit is ABSENT_UNIT
    assert later.by_id(12, 1, 5).unit is TWO


def test_a_duplicate_names_who_is_there_and_a_free_place(table):
    with pytest.raises(ConfigurationError) as caught:
        table.attach(address(1, 5), TWO, 12)
    assert str(caught.value) == "virtual host 0 has 0:0:1:5 already: /srv/old.img"
    assert caught.value.hint == "detach it first, or attach at another LUN: 0:0:1:0"


def test_detaching_nothing_names_what_is_there(table):
    with pytest.raises(ConfigurationError, match="virtual host 0 has nothing at 0:0:1:0") as caught:
        table.detach(address(1, 0))
    assert caught.value.hint == "target 1 has 0:0:1:2, 0:0:1:5"
    with pytest.raises(ConfigurationError) as caught:
        table.detach(address(4, 0))
    assert caught.value.hint == "target 4 has nothing at all"


def test_another_hosts_address_is_refused(table):
    with pytest.raises(ConfigurationError, match="3:0:0:0 is not of virtual host 0"):
        table.attach(address(0, 0, host=3), ONE, 20)


@pytest.mark.parametrize("mapping_id", [NO_MAPPING, 10])
def test_a_mapping_id_is_used_once(table, mapping_id):
    with pytest.raises(ValueError, match="is not new"):
        table.attach(address(0, 0), TWO, mapping_id)
