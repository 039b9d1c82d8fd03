"""Who may connect to a UNIX socket: the group and mode of its file, as written."""

from __future__ import annotations

import grp
import re

from vhost_pvscsi.errors import ConfigurationError

#: A socket whose group is chosen is for its members too, if nothing else is said.
MODE_GROUP = 0o660


def parse_group(name: str, text: str) -> int:
    """Read a group, by name or number; `name` is what the error calls the option.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        # A group's number is as good as its name, and some have no other.
        if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
            return int(text)
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise ConfigurationError(
            f"{name}={text}: there is no group {text!r}",
            hint="a name of getent group, or a number",
        ) from None


def parse_mode(name: str, text: str) -> int:
    """Read a file's mode, three octal digits; `name` is what the error calls the option.

    Raises:
        ConfigurationError: it is none.
    """
    if not re.fullmatch(r"0?[0-7]{3}", text, re.ASCII):
        raise ConfigurationError(
            f"{name}={text}: {text!r} is no file mode", hint=f"three octal digits: {name}=660"
        )
    return int(text, 8)
