"""Rules that attach devices by themselves: `[[auto-attach]]` of the configuration file. Values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.pdev import join_commas
from vhost_pvscsi.discovery.facts import TYPES, hex_name
from vhost_pvscsi.errors import AddressError, ConfigurationError
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vhost_pvscsi.discovery.device import HostDevice

#: What can be asked of a device -> all that it answers.
_ASKED: Mapping[str, Callable[[HostDevice], Sequence[str]]] = {
    "type": lambda device: [device.type],
    "vendor": lambda device: [device.vendor],
    "product": lambda device: [device.product],
    "serial": lambda device: [device.serial],
    "wwn": lambda device: [device.wwn],
    "hctl": lambda device: [str(device.address)],
    "path": lambda device: [*(path for _, path in device.nodes.there()), *device.links],
}
CONDITIONS = tuple(_ASKED)

#: What stands in braces in a VDEV: the first number that makes a free address; of the device's
#: address on the host.
_FIELDS = ("n", "channel", "target", "lun")

#: So many addresses are tried.
_MOST = 1 << 14

#: What holds for such a LUN if the rule does not say otherwise: it came with its device.
_DEFAULTS = {"on-loss": "remove"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One of them."""

    vdev: str  #: a template
    conditions: tuple[tuple[str, tuple[str, ...]], ...]  #: all must hold, each by one pattern
    words: tuple[str, ...] = ()  #: options of the LUN, `name=value` each
    place: str = field(default="", compare=False)  #: where it stands, for messages

    def matches(self, device: HostDevice) -> bool:
        """Whether the rule is about a device."""
        return device.address is not None and all(
            any(
                fnmatchcase(answer, pattern)
                for answer in _ASKED[name](device)
                for pattern in patterns
            )
            for name, patterns in self.conditions
        )

    def address_for(
        self, device: HostDevice, is_taken: Callable[[Address], bool]
    ) -> Address | None:
        """Find where to attach a device; None: all that the template makes are taken."""
        counts = range(_MOST) if "{n}" in self.vdev else range(1)
        for number in counts:
            try:
                address = _fill(self.vdev, device, number)
            except AddressError:
                return None
            if not is_taken(address):
                return address
        return None

    def pdev(self, name: str) -> str:
        """Make `PDEV[,option...]` for a device of that name."""
        said = {word.partition("=")[0] for word in self.words}
        more = [f"{name}={value}" for name, value in _DEFAULTS.items() if name not in said]
        return join_commas((name, *self.words, *more))

    @property
    def host(self) -> int:
        """The virtual host whose guest gets its devices."""
        return int(self.vdev.partition(":")[0])


def check_template(text: str) -> str:
    """Check a template of a VDEV.

    Raises:
        ConfigurationError: it makes no address.
    """
    for name in re.findall(r"\{([^}]*)\}", text):
        if name not in _FIELDS:
            known = ", ".join(f"{{{each}}}" for each in _FIELDS)
            raise ConfigurationError(f"vdev {text!r}: {{{name[:30]}}} is not known", hint=known)
    plain = re.sub(r"\{[^}]*\}", "0", text)
    try:
        Address.parse(plain)
    except AddressError as error:
        raise ConfigurationError(
            f"vdev {text!r} makes no address: {error}", hint='for example "0:0:{n}:0"'
        ) from error
    if not text.partition(":")[0].isdigit():
        raise ConfigurationError(
            f"vdev {text!r}: the virtual host is no number", hint='for example "0:0:{n}:0"'
        )
    return text


def check_pattern(name: str, text: str) -> str:
    """Check, and make plain, what a device must answer.

    Raises:
        ConfigurationError: no device could.
    """
    if not text:
        raise ConfigurationError(f"{name} is empty", hint='a pattern: "LTO*", "tape"')
    if name == "type" and not any(fnmatchcase(kind, text) for kind in TYPES.values()):
        raise ConfigurationError(
            f"type {text!r} is not known", hint=f"types are {', '.join(TYPES.values())}"
        )
    return (hex_name(text) or text.lower()) if name == "wwn" else text


def _fill(template: str, device: HostDevice, number: int) -> Address:
    assert device.address is not None
    values = {
        "n": number,
        "channel": device.address.channel,
        "target": device.address.target,
        "lun": device.address.lun,
    }
    return Address.parse(re.sub(r"\{(\w+)\}", lambda found: str(values[found[1]]), template))
