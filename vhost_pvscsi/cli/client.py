"""A daemon's control socket, from the other end: the `qemu.qmp` client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Self

from qemu.qmp import (
    ConnectError,
    ExecInterruptedError,
    ExecuteError,
    QMPClient,
    QMPError,
    StateError,
)

from vhost_pvscsi.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path
    from types import TracebackType

#: How long a daemon may take to greet, in seconds: it does at once, if it is one.
_GREETING_DEADLINE = 10.0


class Client:
    """A connection to a daemon, from `async with` to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._qmp = QMPClient("control")
        # What goes wrong is told once, by our own errors.
        self._qmp.logger.setLevel(logging.CRITICAL + 1)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ControlError: there is no daemon, or not for us, or it went away.
        """
        try:
            async with asyncio.timeout(_GREETING_DEADLINE):
                await self._qmp.connect(str(self._path))
        except TimeoutError:
            raise ControlError(
                f"{self._path}: nobody greets there within {_GREETING_DEADLINE:g} s",
                hint="--control names a daemon's control socket, no front-end's",
            ) from None
        except ConnectError as error:
            raise self._unreachable(error.exc) from None
        except AssertionError:
            # qemu.qmp takes for granted that who has greeted is still there a moment later.
            await self._leave()
            raise self._gone() from None
        return self

    def _unreachable(self, cause: Exception) -> ControlError:
        if isinstance(cause, FileNotFoundError | ConnectionRefusedError):
            return ControlError(
                f"{self._path}: no daemon listens there",
                hint=f"start one: vhost-pvscsi serve --control {self._path}",
            )
        if isinstance(cause, PermissionError):
            return ControlError(
                f"{self._path}: permission denied",
                hint="the daemon's user, root, or the group of that socket may",
            )
        if isinstance(cause, EOFError | ConnectionError):
            return ControlError(
                f"{self._path}: the daemon closed the connection", hint="its log says why"
            )
        if isinstance(cause, QMPError):
            return ControlError(
                f"{self._path}: what listens there speaks no QMP",
                hint="--control names a daemon's control socket",
            )
        told = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        return ControlError(
            f"{self._path}: {told}", hint="--control names a daemon's control socket"
        )

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """Have a command carried out, however long that takes.

        Raises:
            ControlError: it was refused, or the daemon went away.
        """
        try:
            return await self._qmp.execute(command, arguments or {})
        except ExecuteError as error:
            raise _refused(error) from None
        except (ExecInterruptedError, StateError):
            # While it was asked, or since it was asked something else.
            raise self._gone() from None

    def send_descriptor(self, descriptor: int) -> None:
        """Send a descriptor, for the `getfd` that comes next; it stays the caller's.

        Raises:
            ControlError: the daemon went away.
        """
        try:
            self._qmp.send_fd_scm(descriptor)
        except (StateError, OSError):
            raise self._gone() from None

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Give each event as it comes.

        Raises:
            ControlError: the daemon went away.
        """
        ended = asyncio.ensure_future(self._qmp.runstate_changed())
        try:
            while True:
                event = asyncio.ensure_future(self._qmp.events.get())
                await asyncio.wait({event, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not event.done():
                    event.cancel()
                    raise self._gone()
                yield dict(event.result())
        finally:
            ended.cancel()

    def _gone(self) -> ControlError:
        return ControlError(f"{self._path}: the daemon went away")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        # One that was lost before fails once more; whoever waited for it has been told.
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self._qmp.disconnect()


def _refused(error: ExecuteError) -> ControlError:
    # `hint` is this daemon's own member of QMP's error; its text stands in `desc` too.
    told = error.received.get("error")
    hint = told.get("hint") if isinstance(told, dict) else None
    if not isinstance(hint, str):
        return ControlError(str(error))
    return ControlError(str(error).removesuffix(f" ({hint})"), hint=hint)
