"""The registry of mungers."""

from dataclasses import replace

import pytest

from vhost_pvscsi.munge.registry import Registry
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.translation import Table

MAPPING = Table(0).resolve(0, 0)


def request(cdb):
    return Request(nexus="a", target=0, lun=0, cdb=bytes.fromhex(cdb).ljust(16, b"\0"))


def test_mungers_apply_to_their_command_only():
    registry = Registry()

    @registry.on_request(0x12)
    def shorten(request, mapping):
        return replace(request, cdb=b"\x12")

    @registry.on_reply(0x9E, 0x10)
    def hide(request, reply, mapping):
        return replace(reply, data=b"hidden")

    assert registry.inbound(request("12"), MAPPING).cdb == b"\x12"
    other = request("28")
    assert registry.inbound(other, MAPPING) is other
    reply = Reply(data=b"seen")
    assert registry.outbound(request("9e10"), reply, MAPPING).data == b"hidden"
    assert registry.outbound(request("9e12"), reply, MAPPING) is reply
    assert registry.munged_opcodes() == {0x12, 0x9E}


def test_a_second_munger_of_one_direction_is_an_error_that_names_the_first():
    registry = Registry()

    @registry.on_reply(0x12)
    def first(request, reply, mapping):
        return reply

    with pytest.raises(ValueError, match="12h has a munger already: first"):
        registry.on_reply(0x12)(first)
    registry.on_request(0x12)(lambda request, mapping: request)


@pytest.mark.parametrize(("one", "two"), [(None, 0x10), (0x10, None), (0x10, 0x10)])
def test_all_and_one_service_action_are_in_each_others_way(one, two):
    registry = Registry()
    registry.on_request(0x9E, one)(lambda request, mapping: request)
    with pytest.raises(ValueError, match="has a munger already"):
        registry.on_request(0x9E, two)(lambda request, mapping: request)


def test_different_service_actions_are_not():
    registry = Registry()
    registry.on_request(0x9E, 0x10)(lambda request, mapping: request)
    registry.on_request(0x9E, 0x12)(lambda request, mapping: Reply(data=b"twelve"))
    assert registry.inbound(request("9e12"), MAPPING).data == b"twelve"


def test_a_munger_that_returns_something_else_is_named():
    registry = Registry()

    @registry.on_request(0x12)
    def forgets(request, mapping):
        pass

    @registry.on_reply(0x12)
    def bare(request, reply, mapping):
        return reply.data

    with pytest.raises(TypeError, match=r"forgets returned NoneType, not a Request or Reply"):
        registry.inbound(request("12"), MAPPING)
    with pytest.raises(TypeError, match=r"bare returned bytes, not a Reply"):
        registry.outbound(request("12"), Reply(), MAPPING)
