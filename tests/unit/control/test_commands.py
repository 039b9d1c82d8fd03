"""The rows of the control socket: what arguments they take, and that each is carried out."""

import math
import re

import pytest

from vhost_pvscsi.control.commands import COMMANDS
from vhost_pvscsi.control.schema import describe
from vhost_pvscsi.daemon.control.handlers import HANDLERS
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address


def test_every_row_is_carried_out_and_nothing_else() -> None:
    assert set(HANDLERS) == set(COMMANDS)


def test_names_are_as_upstream_has_them() -> None:
    for command in COMMANDS.values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", command.name)
        assert command.summary.endswith(".")
        assert not command.query or command.returns != "nothing"


def test_arguments_are_read_and_what_is_not_said_is_there() -> None:
    read = COMMANDS["scsi-detach"].read({"vdev": "1:0:2:3", "force": True})
    assert read == {"vdev": Address(1, 0, 2, 3), "force": True, "timeout": 30.0}
    assert COMMANDS["query-luns"].read({}) == {"host": None}


@pytest.mark.parametrize(
    ("name", "arguments", "said", "hint"),
    [
        ("host-attach", {}, "host-attach: argument 'host' is missing", "0 to 65535"),
        ("quit", {"now": 1}, "quit: argument 'now' is not known", "it takes none"),
        ("fault-lift", {"vdv": "0:0:0:0"}, "argument 'vdv' is not known", "arguments are vdev"),
        ("query-luns", {"host": True}, "argument 'host': true cannot be used", "0 to 65535"),
        ("query-luns", {"host": 65536}, "argument 'host': 65536 cannot be used", "0 to 65535"),
        ("query-luns", {"host": -1}, "argument 'host': -1 cannot be used", "0 to 65535"),
        ("query-luns", {"host": 0.0}, "argument 'host': 0.0 cannot be used", "0 to 65535"),
        ("fault-lift", {"vdev": 7}, "argument 'vdev': 7 cannot be used", "for example 0:0:1:0"),
        ("fault-lift", {"vdev": "0:0:0"}, "address '0:0:0' is not", "four decimal numbers"),
        ("fault-lift", {"vdev": "9" * 5000}, "cannot be used", "for example 0:0:1:0"),
        ("fault-lift", {"vdev": "\ud800"}, "cannot be used", "for example 0:0:1:0"),
        ("host-attach", {"host": 0, "socket-path": "a\0"}, "'socket-path'", "a path"),
        ("host-attach", {"host": 0, "socket-path": ""}, "'socket-path'", "a path"),
        ("host-detach", {"host": 0, "timeout": -1}, "'timeout': -1", "0 to 86400"),
        ("host-detach", {"host": 0, "timeout": 10**400}, "'timeout': 1000", "0 to 86400"),
        ("host-detach", {"host": 0, "timeout": math.inf}, "'timeout': Inf", "0 to 86400"),
        ("host-detach", {"host": 0, "force": "yes"}, "'force': \"yes\"", "true or false"),
        ("fault-set", {"vdev": "0:0:0:0", "rules": "hang"}, "'rules': \"hang\"", "a list"),
        ("fault-set", {"vdev": "0:0:0:0", "rules": [1]}, "'rules': [1]", "a list"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(
    name: str, arguments: dict[str, object], said: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        COMMANDS[name].read(arguments)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200
    assert hint in (caught.value.hint or "")


def test_the_schema_lists_every_argument() -> None:
    told = {command["name"]: command for command in describe()["commands"]}
    assert set(told) == set(COMMANDS)
    assert [a["name"] for a in told["scsi-attach"]["arguments"]] == ["pdev", "vdev", "transient"]
    assert told["query-luns"]["read-only"]
    assert told["host-detach"]["arguments"][2]["default"] == 30.0
