"""The registry of mungers."""

from dataclasses import replace

import pytest

from vhost_pvscsi.errors import ConfigurationError, MungerError
from vhost_pvscsi.munge.registry import OURS, Registry
from vhost_pvscsi.scsi.request import Reply, Request, Status
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

    assert registry.theirs.inbound(request("12"), MAPPING).cdb == b"\x12"
    other = request("28")
    assert registry.theirs.inbound(other, MAPPING) is other
    reply = Reply(data=b"seen")
    assert registry.theirs.outbound(request("9e10"), reply, MAPPING).data == b"hidden"
    assert registry.theirs.outbound(request("9e12"), reply, MAPPING) is reply
    assert registry.munged_opcodes() == {0x12, 0x9E}


def test_a_second_munger_of_one_direction_is_an_error_that_names_the_first():
    registry = Registry()

    @registry.on_reply(0x12)
    def first(request, reply, mapping):
        return reply

    with pytest.raises(
        ConfigurationError, match=r"inquiry \(12h\) has an outbound munger already: .*first"
    ):
        registry.on_reply(0x12)(first)
    registry.on_request(0x12)(lambda request, mapping: request)


@pytest.mark.parametrize(("one", "two"), [(None, 0x10), (0x10, None), (0x10, 0x10)])
def test_all_and_one_service_action_are_in_each_others_way(one, two):
    registry = Registry()
    registry.on_request(0x9E, one)(lambda request, mapping: request)
    with pytest.raises(ConfigurationError, match="has an inbound munger already"):
        registry.on_request(0x9E, two)(lambda request, mapping: request)


def test_different_service_actions_are_not():
    registry = Registry()
    registry.on_request(0x9E, 0x10)(lambda request, mapping: request)
    registry.on_request(0x9E, 0x12)(lambda request, mapping: Reply(data=b"twelve"))
    assert registry.theirs.inbound(request("9e12"), MAPPING).data == b"twelve"


def test_a_munger_that_returns_something_else_is_named():
    registry = Registry()

    @registry.on_request(0x12)
    def forgets(request, mapping):
        pass

    @registry.on_reply(0x12)
    def bare(request, reply, mapping):
        return reply.data

    with pytest.raises(
        MungerError, match=r"forgets of .* returned NoneType, not a Request or Reply"
    ):
        registry.theirs.inbound(request("12"), MAPPING)
    with pytest.raises(MungerError, match=r"bare of .* returned bytes, not a Reply"):
        registry.theirs.outbound(request("12"), Reply(), MAPPING)


def test_two_third_parties_clash_and_both_are_named():
    registry = Registry()
    with registry.loading("acme 1.2"):
        registry.on_request(0x12)(lambda request, mapping: request)
    with registry.loading("/srv/other.py"), pytest.raises(ConfigurationError) as caught:

        @registry.on_request(0x12)
        def mine(request, mapping):
            return request

    for word in ("mine of /srv/other.py", "inquiry (12h)", "inbound", "<lambda> of acme 1.2"):
        assert word in str(caught.value)


def test_ours_and_theirs_are_different_layers():
    registry = Registry()

    def function(request, mapping):
        return request

    function.__module__ = "vhost_pvscsi.munge.some"
    with registry.loading("acme 1.2"):
        registry.on_request(0x12)(function)  # ours, whoever has imported it
        registry.on_request(0x12)(lambda request, mapping: request)
    assert [munger.origin for munger in registry.ours] == [OURS]
    assert [munger.origin for munger in registry.theirs] == ["acme 1.2"]


@pytest.mark.parametrize(
    ("arguments", "function", "said"),
    [
        ((0x100,), lambda request, mapping: request, "256 is no operation code"),
        (("inquiry",), lambda request, mapping: request, "'inquiry' is no operation code"),
        ((0x12, 1), lambda request, mapping: request, "12h has no service action 1"),
        ((0x9E, 32), lambda request, mapping: request, "9Eh has no service action 32"),
        ((0x12,), lambda request: request, "does not take 2 arguments"),
        ((0x12,), lambda request, reply, mapping: reply, "does not take 2 arguments"),
    ],
)
def test_what_could_never_be_called_is_refused(arguments, function, said):
    with pytest.raises(ConfigurationError, match=said):
        Registry().on_request(*arguments)(function)


def test_a_coroutine_is_refused():
    async def late(request, mapping):
        return request

    with pytest.raises(ConfigurationError, match="late is async"):
        Registry().on_request(0x12)(late)


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), RecursionError()]
)
def test_whatever_a_munger_raises_is_an_error_that_names_it(error):
    registry = Registry()

    @registry.on_request(0x12)
    def fails(request, mapping):
        raise error

    with pytest.raises(MungerError, match=rf"fails of .* has raised {type(error).__name__}"):
        registry.theirs.inbound(request("12"), MAPPING)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=2), "status or service"),
        (Reply(service=0), "status or service"),
        (Reply(status=Status.CHECK_CONDITION, sense=bytes(253)), "at most 252"),
        (Reply(data=bytearray(4)), "data of bytearray, not bytes"),
        (Reply(transferred=513), "`transferred`"),
    ],
)
def test_a_reply_that_cannot_be_used_is_refused(reply, said):
    registry = Registry()
    registry.on_reply(0x28)(lambda request, was, mapping: reply)
    with pytest.raises(MungerError, match=said):
        registry.theirs.outbound(request("28"), Reply(transferred=512), MAPPING)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cdb": b""}, "1 to 32"),
        ({"cdb": bytes(33)}, "1 to 32"),
        ({"cdb": bytearray(16)}, "1 to 32"),
        ({"data_out": None}, "data_out"),
        ({"data_in_length": -1}, "length"),
        ({"token": 7}, "another request"),
        ({"nexus": "b"}, "another request"),
    ],
)
def test_a_request_that_cannot_be_used_is_refused(changes, said):
    registry = Registry()
    registry.on_request(0x28)(lambda request, mapping: replace(request, **changes))
    with pytest.raises(MungerError, match=said):
        registry.theirs.inbound(request("28"), MAPPING)
