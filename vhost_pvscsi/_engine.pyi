"""The compiled data plane: rings, guest memory, the medium executor. It knows no policy.

All orders return at once. One that has an end worth waiting for returns a ticket, and
the end comes as a DONE event with that ticket. `engine.py`, which turns tickets into futures,
and `medium.py` are the only importers of this module.

Tokens name a request held by a ring: unique, never reused while anybody may hold them.
A call with a token whose request has ended meanwhile does nothing.
Descriptors that are passed in are duplicated; the caller keeps its own.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias, final

__all__ = [
    "BROKEN",
    "CANCEL",
    "COMMAND",
    "CONTROL",
    "DONE",
    "EXECUTED",
    "FAILED",
    "LATENCY_BOUNDS",
    "MAX_QUEUE_SIZE",
    "MAX_TAPE_BLOCK",
    "MAX_TRANSFER_BYTES",
    "MAX_UNMAP_BLOCKS",
    "MAX_UNMAP_DESCRIPTORS",
    "MAX_WRITE_SAME_BLOCKS",
    "QUEUE_CONTROL",
    "QUEUE_EVENT",
    "QUEUE_REQUEST",
    "Device",
    "Engine",
    "Medium",
    "TapeImage",
]

#: Kinds of event: the first member of each tuple that `Engine.take` returns.
COMMAND: Final = 0
CONTROL: Final = 1
DONE: Final = 2
BROKEN: Final = 3
CANCEL: Final = 4
EXECUTED: Final = 5
FAILED: Final = 6

#: What `Engine.take` returns: a kind, then
#: COMMAND: host, session, token, mapping (0: nothing is attached there), generation, target,
#:     lun (both -1 for an address that is no LUN's), tag, attribute, cdb, data_out,
#:     data_out_length, data_in_length
#: CONTROL: host, session, token, readable bytes, writable length
#: DONE: ticket, value, error ("" when the order was carried out)
#: BROKEN: host, session, queue, reason: that session's rings have stopped for good
#: CANCEL: host, session, token, service: end this held request now
#: EXECUTED: token, service, status, sense, transferred bytes, data: the end of `execute`, or of
#:     `forward`, whose data it has that was to be fetched
#: FAILED: host, mapping: the host's I/O has failed there; `take_failures` says how often
_Event: TypeAlias = tuple[Any, ...]

#: Kinds of queue.
QUEUE_CONTROL: Final = 0
QUEUE_EVENT: Final = 1
QUEUE_REQUEST: Final = 2

#: Limits of the medium executor (VPD page B0h tells the guest).
MAX_TRANSFER_BYTES: Final[int]
MAX_UNMAP_BLOCKS: Final[int]
MAX_UNMAP_DESCRIPTORS: Final[int]
MAX_WRITE_SAME_BLOCKS: Final[int]
#: Bytes of the longest block that a tape takes.
MAX_TAPE_BLOCK: Final[int]
#: Upper bounds of the buckets of latencies in seconds, ascending; one more bucket has none.
LATENCY_BOUNDS: Final[tuple[float, ...]]
#: Entries of the largest ring.
MAX_QUEUE_SIZE: Final[int]

@final
class Medium:
    """A disk's blocks: one file, RAM or nothing. Shared by all mappings of a unit."""

    @staticmethod
    def file(
        fd: int,
        *,
        size: int,
        block_size: int,
        read_only: bool,
        direct: bool,
        sync_writes: bool,
        scratch_fd: int | None = None,
    ) -> Medium:
        """Blocks of a file or block device.

        `size` in bytes. `direct`: fd was opened with O_DIRECT. `sync_writes`: each write is
        stable when it is answered (write-through). `scratch_fd`: an empty temporary file on
        the same file system, on which the quickest way to write is measured; without it the
        safe default is taken.

        Raises:
            OSError: a probe of the file failed, or its O_DIRECT alignment exceeds block_size.
        """
    @staticmethod
    def disc(fd: int, size: int) -> Medium:
        """Sectors of a CD or DVD image, 2048 bytes each, that are read and never written.

        Raises:
            OSError: the size is no multiple of a sector's, or the file cannot be used.
        """
    @staticmethod
    def disc_commands() -> dict[int, tuple[bool, bytes]]:
        """What is implemented for a disc, as `commands` says for a disk."""
    @staticmethod
    def ram(*, size: int, block_size: int, read_only: bool, latency_us: int = 0) -> Medium:
        """Blocks in memory of our own, zero at first. Raises OSError without memory."""
    @staticmethod
    def null(*, size: int, block_size: int, read_only: bool, latency_us: int = 0) -> Medium:
        """Reads give zeros, writes are forgotten."""
    @staticmethod
    def tape_drive() -> Medium:
        """A tape drive that is empty: MEDIUM NOT PRESENT."""
    def tape_insert(
        self,
        fd: int,
        *,
        sidecar_fd: int | None,
        read_only: bool,
        capacity: int,
        warning: int,
        scratch_fd: int | None = None,
    ) -> None:
        """Put an image in SIMH's format into the drive, at its beginning; a torn tail is cut.

        `sidecar_fd`: the file beside it that keeps the index, read and written. `capacity`: bytes
        of the image that may be used; `warning`: from how many on writes are warned.

        Raises:
            ValueError: it is no image of that format, or damaged.
            OSError: it cannot be read.
        """
    def tape_remove(self) -> None:
        """Do as `tape_rest`, and let go of the tape; after an OSError it is in the drive still."""
    @staticmethod
    def tape_commands() -> dict[int, tuple[bool, bytes]]:
        """What is implemented for a tape, as `commands` says for a disk."""
    def tape_loaded(self) -> tuple[int, int, bool]:
        """Where a torn tail was cut, its bytes (0: there was none); whether the index is new.

        Raises ValueError where this is no tape, as all of these do.
        """
    def tape_standing(self) -> list[int]:
        """How it stands; waits for the command in progress.

        Object, byte, file of where it stands; object, byte of the end of data; filemarks on it;
        blocks written, their bytes, their bytes in the image; the same of blocks read; filemarks
        written; read and write errors; commands refused because the tape is write-protected.
        """
    def tape_set(self, block_length: int, unbuffered: bool, compress: bool) -> None:
        """Set the length of fixed blocks (0: none), whether writes are stable when answered.

        And whether blocks are compressed, where that makes them less.
        """
    def tape_progress(self) -> int | None:
        """65536ths of a VERIFY that goes on behind its answer; None: none does."""
    def tape_end_behind(self) -> None:
        """End a VERIFY that goes on behind its answer; waits until it has ended."""
    def tape_rest(self) -> None:
        """Make all that was written stable, keep the index, stand at the beginning.

        Raises OSError. Blocks the caller's thread without the GIL.
        """
    @staticmethod
    def commands() -> dict[int, tuple[bool, bytes]]:
        """What the medium executor implements, by operation code.

        Whether the command changes the medium or makes changes stable; its CDB usage mask.
        """
    def grow(self, size: int) -> None:
        """Have `size` bytes from now on: the file behind the medium has grown.

        A command sees the old size or the new one; those in flight go on. No gate is asked.

        Raises:
            ValueError: not larger than before, not of whole blocks, or RAM or null, which do not
                grow.
        """
    def set_sync_writes(self, on: bool) -> None:
        """Have each write stable when it is answered from now on, or no longer.

        As `sync_writes` of `file` at the beginning: the write cache off, or on. What was written
        or begun before stays as it is: shut the gates for writes first and flush after. RAM and
        null have no cache.
        """
    def set_descriptor_sense(self, on: bool) -> None:
        """Give the executor's sense data in descriptor format, or in fixed format (at first).

        SPC-5 4.4.2 and 4.4.3. Sense data that `Engine.complete` brings is passed as it is.
        """
    def read(self, offset: int, length: int) -> bytes:
        """Read blocks. Blocks the caller's thread without the GIL; no gate is asked.

        Offset and length in bytes; whole blocks. The latency of a medium is not for this.

        Raises:
            ValueError: the range is not within the medium, or not of whole blocks.
            OSError: the host refused, with its errno; EIO where the file has become too short.
        """
    def write(self, offset: int, data: bytes) -> None:
        """Write blocks, as `read` reads them; stable after it if `sync_writes` is on.

        Raises:
            ValueError: as `read`.
            OSError: as `read`; EROFS where the medium is read-only.
        """
    def copy_to(self, target: Medium, source_offset: int, target_offset: int, length: int) -> int:
        """Copy blocks to a medium, which may be this one; the number of bytes, all of them.

        Overlapping ranges come out as if all had been read before the first was written.
        Between files the file system copies, and shares blocks where it can. It cannot be ended
        early: copy long ranges in pieces of at most 16 MiB.

        Raises:
            ValueError: a range is not within its medium, or not of whole blocks.
            OSError: as `write`; some of the range may have been copied.
        """
    @property
    def write_policy(self) -> str:
        """How writes reach the host: `nowait`, `inline`, `io_uring`, `pool` or `memory`."""

@final
class TapeImage:
    """A tape image, looked at without a drive; nothing in it is changed."""

    @staticmethod
    def open(fd: int, sidecar_fd: int | None) -> TapeImage:
        """Find out what is on it. Raises ValueError where it is no image, or damaged; OSError."""
    def state(self) -> tuple[int, int, int, int, int]:
        """Objects, bytes to the end of data, filemarks; where a torn tail begins, its bytes."""
    def objects(self, first: int, limit: int) -> list[tuple[int, int, int, bool, bool] | None]:
        """What objects are, None: a filemark.

        Of a block: where its data is, its length, its length in the image, whether it has errors,
        whether it is compressed. Raises OSError.
        """
    def unpack(self, offset: int, stored: int) -> bytes | None:
        """The data of a compressed block; None: it is damaged. Raises OSError."""

@final
class Device:
    """A SCSI device of the host, open in the engine; made by `Engine.add_device`."""

    @property
    def max_transfer(self) -> int:
        """Most bytes that the host carries in one command."""

@final
class Engine:
    """The engine threads. One per process."""

    def __new__(cls, threads: int, *, io_uring: bool = True, poll_us: int = 0) -> Engine:
        """Start the threads. `poll_us`: longest busy poll before sleeping, 0: none."""
    @property
    def io_uring(self) -> bool:
        """False where the kernel has none or forbids it: plain preads and a thread pool."""
    def fileno(self) -> int:
        """An eventfd, readable while `take` has something."""
    def take(self, limit: int) -> list[_Event]:
        """Up to `limit` events, fairly over hosts. Clears the eventfd when none remain."""
    def stop(self) -> None:
        """End all threads; rings must have been stopped. Blocks until they are gone."""

    # -- virtual hosts
    def add_host(self, budget: int) -> int:
        """A virtual host; `budget`: bytes of data-out copies held for Python at most."""
    def remove_host(self, host: int) -> None: ...
    def change_map(
        self,
        host: int,
        generation: int,
        added: Sequence[
            tuple[int, int, int, Medium | None, Device | None, frozenset[int], frozenset[int], bool]
        ],
        removed: Sequence[int],
    ) -> int:
        """Take mappings out of a host's map and put others in; what stays costs nothing.

        Added: (target, lun, mapping, medium, device, short-road opcodes, copied opcodes,
        protected) each. Writes by a mapping that is `protected` are refused as those of a
        read-only medium are. Of commands for a device only the copied ones come up with their
        data-out. Mapping ids
        are unique in the process and above 0; a new one starts with its gate closed by GATE_NEW,
        to be opened by the caller. Removed: mapping ids. DONE comes when every thread looks up in
        the new map.

        Raises:
            ValueError: there is no such host or mapping, or an address is taken.
        """
    def take_failures(self, mapping: int) -> tuple[int, int, int]:
        """How often the host's I/O has failed there; operation code and errno of the last time.

        Counted since this was asked. Where it is never, the next failure is a FAILED event.
        """
    def lun_counters(self, mapping: int) -> tuple[list[int], list[int], list[int]]:
        """What a mapping has carried since it was made, all threads together.

        Reads, writes, others, long road, errors, bytes read, bytes written, in flight; then how
        many reads, and writes, took so long, by bucket.
        """
    def close_gate(self, mapping: int, bits: int, wait: bool = True) -> int:
        """Set gate bits. DONE: no short-road command they stop is in flight or will follow.

        Without `wait` those in flight go on: DONE says only that none will follow.
        """
    def open_gate(self, mapping: int, bits: int) -> None:
        """Clear gate bits."""

    # -- front-ends
    def add_session(self, host: int) -> int: ...
    def set_memory(self, session: int, regions: Sequence[tuple[int, int, int, int, int]]) -> int:
        """Replace guest memory: (guest address, size, user address, offset, fd) each.

        Rings that run go on in the new memory. DONE: nothing touches the old one any more.

        Raises:
            ValueError: a region is empty, wraps, overlaps another, or its file is shorter.
            OSError: a region cannot be mapped.
        """
    def start_ring(
        self,
        session: int,
        index: int,
        kind: int,
        size: int,
        descriptor: int,
        available: int,
        used: int,
        base: int,
        event_idx: bool,
        indirect: bool,
        kick_fd: int,
        call_fd: int,
    ) -> int:
        """Start a split ring. Addresses are the front-end's; -1 for an fd that is not there.

        Raises:
            ValueError: size is no power of two up to 1024, or an address is outside memory
                or misaligned.
        """
    def start_pvscsi(
        self,
        session: int,
        granted: bool,
        place: int,
        table: tuple[int, int, int, int] | None,
        area: tuple[int, int, int] | None,
        segments: int,
        kick_fd: int,
        call_fd: int,
    ) -> int:
        """Start a pvSCSI ring, as ring 0, a queue of commands and of task management.

        Its page is grant reference `place`, or at that guest address. `table`: fd, offset, size of
        the grant table, and the domid that entries must grant to; without one grant references
        are frame numbers. `area`: fd, offset and size of the in-flight area. `segments`: most
        that a request with SG_GRANT has. Task management comes as CONTROL, with the first 32
        bytes of the request, and is answered by `complete`.

        Raises:
            ValueError: a table, an area or a descriptor of the front-end's cannot be used.
            RuntimeError: the guest's page is not to be had, or cannot be a ring.
        """
    def set_enabled(self, session: int, index: int, enabled: bool) -> int:
        """A disabled ring is not drained. DONE when that is so."""
    def set_call(self, session: int, index: int, call_fd: int) -> None: ...
    def stop_ring(self, session: int, index: int) -> int:
        """Take no more from the ring and let all that was taken end. DONE: next available index."""
    def end_session(self, session: int) -> int:
        """Stop all rings, unmap the memory. DONE: nothing of it is used any more."""
    def push_event(self, session: int, index: int, data: bytes) -> int:
        """Fill a buffer of an event ring, when there is one.

        DONE: 1, or 0 where it was not told: the ring stops or is broken, another event waits,
        or the buffer is too short.
        """

    # -- requests
    def execute(self, token: int, medium: Medium, cdb: bytes) -> None:
        """Let the medium executor run a held request. EXECUTED follows; then `complete` it.

        `cdb`: what it runs, zeros added to 32 bytes. It may differ from the guest's, to move a
        transfer or to make it shorter, and is checked like any.

        Raises:
            ValueError: the CDB is empty or has more than 32 bytes.
        """
    def add_device(
        self,
        fd: int,
        *,
        exclusive: bool,
        passed: bool,
        depth: int,
        max_transfer: int,
        block_size: int,
        writes: set[int],
        timeout_ms: int,
        timeouts_ms: dict[int, int],
    ) -> Device:
        """Open a SCSI device of the host for all threads.

        `fd`: its SG node, open to read and write.
        `exclusive`: the caller sends one command at a time; else each thread opens the node again,
        so that `depth` commands at most are outstanding. `passed`: somebody else has opened it, and
        commands go by SG_IO, on a few threads that wait. `max_transfer`: bytes of one command.
        `block_size`: bytes in a block, where READ and WRITE that are longer may be cut in pieces;
        0: they are refused. `writes`: opcodes that a protected mapping may not send. `timeout_ms`:
        of commands whose opcode is not in `timeouts_ms`.

        Raises:
            OSError: it cannot be opened again.
            ValueError: `depth` or `max_transfer` is 0.
        """
    def remove_device(self, device: Device) -> None:
        """Let go of a device whose commands have ended, and wait until no thread has it any more.

        It is closed when the last reference is dropped.
        """
    def forward(
        self,
        token: int,
        device: Device,
        cdb: bytes,
        *,
        send: bytes | None = None,
        fetch: int | None = None,
    ) -> None:
        """Let a device carry out a held request. EXECUTED follows; then `complete` it.

        `cdb`: what is sent, at its own length. Data moves between the device and the guest, but
        where `send` is given in place of the guest's data-out, or up to `fetch` bytes of data-in
        are to come with EXECUTED in place of going to the guest.

        A device that is sent a command keeps it until its end or its time-out: `abort` waits.

        Raises:
            ValueError: the CDB is empty or has more than 32 bytes.
        """
    def complete(
        self,
        token: int,
        service: int,
        status: int,
        sense: bytes,
        data: bytes,
        transferred: int,
    ) -> None:
        """Answer a held COMMAND. `transferred` < 0: `data` is copied in and counted.

        Where `data` does not fit the guest's buffer it is cut and the service is OVERRUN.
        """
    def complete_control(self, token: int, data: bytes) -> None:
        """Answer a held CONTROL request, cut to its writable length."""
    def abort(self, host: int, target: int, lun: int, tag: int, service: int) -> int:
        """End requests with that service: target, lun, tag -1 match any.

        What is available on the rings is taken first. Requests in Python's hands get a
        CANCEL event. DONE: all have ended; the value is how many matched.
        """
    def count(self, host: int, target: int, lun: int, tag: int) -> int:
        """How many requests match, as for `abort`. DONE: that number."""
    def counters(self, session: int) -> list[tuple[int, int, int, int, int, int, int, int]]:
        """Tell what each ring has carried.

        Rows of: index, reads, writes, other short-road commands, long-road commands, bytes
        read, bytes written, bounced transfers.
        """
