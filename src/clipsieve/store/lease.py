"""One writer at a time for each run behind a URL, where no system releases a lock when its holder ends.

The lock is an object that its holder renews. Whoever finds that of another watches it: one that is not renewed for a minute is
void. Only what changes is looked at and no time is compared, so that clocks may differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from upath import UPath

from clipsieve.errors import RunConflictError, RunError
from clipsieve.store.files import ask, put_bytes, read_bytes, remove

__all__ = ["LeaseTimes", "check_lease", "leased"]

# Services that refuse to make an object that is there, when they are told to; with the others the last of two writers wins.
_EXCLUSIVE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
# Of time while the machine is suspended, too, where the system counts it.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long things take, in seconds.

    Attributes
    ----------
    renew_s : float
        From one renewal to the next.
    lapse_s : float
        Not renewed for so long, a lease is void; several renewals may fail before.
    poll_s : float
        From one look at another's lease to the next.
    settle_s : float
        From a claim to the look at who has won, where two may claim at once.
    """

    renew_s: float = 15.0
    lapse_s: float = 60.0
    poll_s: float = 5.0
    settle_s: float = 1.0


@dataclass(frozen=True, slots=True)
class _Claim:
    """What stands in the object.

    Attributes
    ----------
    holder : str
        For a person to read.
    place, pid, begun : str, int, str
        The machine since its last start, and the process there; empty where that cannot be told.
    token : str
        Of this claim alone.
    beat : int
        One more at each renewal.
    """

    holder: str
    place: str
    pid: int
    begun: str
    token: str
    beat: int = 0

    @classmethod
    def of_this_process(cls) -> _Claim:
        """Return a new one."""
        pid, now = os.getpid(), datetime.now(UTC).isoformat(timespec="seconds")
        holder = f"process {pid} on {socket.gethostname()}, since {now}"
        return cls(holder, _this_place(), pid, _begun(pid), secrets.token_hex(16))

    @classmethod
    def read(cls, content: bytes) -> _Claim | None:
        """Return what somebody wrote, or None if it is no claim."""
        try:
            found = json.loads(content)
            holder, place, begun, token = (str(found[name]) for name in ("holder", "place", "begun", "token"))
            return cls(holder, place, int(found["pid"]), begun, token, int(found["beat"]))
        except (ValueError, TypeError, KeyError):
            return None

    def written(self) -> bytes:
        """Return what stands in the object."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @property
    def is_here(self) -> bool:
        """Whether its process is, or was, one of this machine since its last start."""
        return self.place != "" and self.place == _this_place()

    @property
    def is_over(self) -> bool:
        """Whether it is certain that its process has ended."""
        return self.is_here and self.begun != _begun(self.pid)


def _this_place() -> str:
    """Return what tells this machine since its last start, and this container on it; empty if the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - it leads nowhere
    except OSError:
        return ""


def _begun(pid: int) -> str:
    """Return when a process of this machine began, in the system's ticks; empty if there is none, or it has ended."""
    try:
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except (OSError, ValueError):
        return ""
    return "" if state in ("Z", "X") else fields[18]


class _Lease:
    def __init__(self, folder: UPath, name: str, times: LeaseTimes) -> None:
        self._folder = folder
        self._path: UPath = folder / name
        self._times = times
        self._claim = _Claim.of_this_process()
        self._renewed_s = 0.0
        self._taken_by: str | None = None
        self._turn = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def acquire(self, on_wait: Callable[[str], object]) -> None:
        found = self._read()
        if found is not None:
            found = self._outwait(found, on_wait)
        if found is None:
            self._create()
        else:  # void: of two that see it at once, the last one wins
            self._write(self._claim)
        if found is not None or self._path.protocol not in _EXCLUSIVE:
            time.sleep(self._times.settle_s)
        now = self._read()
        if now != self._claim.written():
            raise self._refusal(now)
        self._renewed_s = time.clock_gettime(_CLOCK)
        self._thread.start()

    def _create(self) -> None:
        content = self._claim.written()
        # That it is there already may be our own doing, by a request whose answer was lost: what was read next tells.
        with contextlib.suppress(FileExistsError):
            try:
                ask(self._path, lambda fs: fs.pipe_file(self._path.path, content, mode="create"), "write")
            except (FileNotFoundError, TypeError):  # no such folder, or a library that does not know of the mode
                put_bytes(self._path, content)

    def _write(self, claim: _Claim) -> None:
        # In place, also where other files are renamed when they are whole: meanwhile there would be no lock.
        content = claim.written()
        try:
            ask(self._path, lambda fs: fs.pipe_file(self._path.path, content), "write")
        except FileNotFoundError:
            put_bytes(self._path, content)  # makes the folder, or says what is not there

    def _outwait(self, found: bytes, on_wait: Callable[[str], object]) -> bytes | None:
        """Wait until another's lease is void, and return what stands there; RunConflictError if it is renewed."""
        claim = _Claim.read(found)
        if claim is not None and claim.is_over:
            return found
        if claim is not None and claim.is_here:
            raise self._refusal(found)
        on_wait(
            f"`{self._folder}` may be in use: waiting {self._times.lapse_s:.0f} s to see whether its holder lives"
            f" ({claim.holder if claim else 'unknown'})"
        )
        n_looks = max(2, round(self._times.lapse_s / self._times.poll_s))
        for _ in range(n_looks):
            time.sleep(self._times.poll_s)
            now = self._read()
            if now is None:
                return None
            if now != found:
                raise self._refusal(now)
        return found

    def _read(self) -> bytes | None:
        try:
            return read_bytes(self._path)
        except FileNotFoundError:
            return None

    def _refusal(self, found: bytes | None) -> RunConflictError:
        claim = _Claim.read(found or b"")
        return RunConflictError(
            f"another process is writing to `{self._folder}`",
            found=claim.holder if claim else None,
            state="nothing was written",
            hint="wait until it has finished, or choose another folder",
        )

    def _keep(self) -> None:
        while not self._is_over.wait(self._times.renew_s):
            # A service that is away for a while is asked again; whether the lease still holds, `check` finds out.
            with contextlib.suppress(RunError, FileNotFoundError):
                self._renew()

    def _renew(self) -> None:
        with self._turn:
            if self._taken_by is not None or self._is_over.is_set():
                return
            found = self._read()
            claim = _Claim.read(found or b"")
            if found and claim is None:
                return  # half written, by a server that shows that: the next look tells
            if claim is None or claim.token != self._claim.token:
                self._taken_by = (
                    claim.holder if claim else "no lock any more: another process was here and has finished"
                )
                return
            self._claim = replace(self._claim, beat=self._claim.beat + 1)
            self._write(self._claim)
            self._renewed_s = time.clock_gettime(_CLOCK)

    def check(self, *, surely: bool) -> None:
        """Raise RunConflictError if another process has taken over; `surely` asks the service in any case."""
        if surely or time.clock_gettime(_CLOCK) - self._renewed_s > 2 * self._times.renew_s:
            self._renew()
        if self._taken_by is not None:
            raise RunConflictError(
                f"another process has taken over `{self._folder}`: this one stood still for too long",
                expected=self._claim.holder,
                found=self._taken_by,
                state="what was written before that is whole",
                hint="give the same command again when the other has finished: it goes on from there",
            )

    def release(self) -> None:
        self._is_over.set()
        with self._turn, contextlib.suppress(RunError):  # a service that is away: it lapses by itself
            claim = _Claim.read(self._read() or b"")
            if claim is not None and claim.token == self._claim.token:
                remove(self._path)


# What this process holds, by folder: as with the system's own locks, whoever writes need not be handed it.
_held: dict[str, _Lease] = {}


@contextmanager
def leased(
    folder: UPath, name: str, on_wait: Callable[[str], object], times: LeaseTimes | None = None
) -> Iterator[None]:
    """Hold a folder behind a URL for this process.

    Raises
    ------
    RunConflictError
        If another process holds it; or at the end, if another has taken over because this one stood still.
    RunError
        If the place cannot be written to.
    """
    lease = _Lease(folder, name, times or LeaseTimes())
    try:
        lease.acquire(on_wait)
    except BaseException:
        lease.release()  # of ours alone: Ctrl-C may come just after it was made
        raise
    _held[str(folder)] = lease
    try:
        yield
        lease.check(surely=True)
    finally:
        del _held[str(folder)]
        lease.release()


def check_lease(folder: UPath, *, surely: bool) -> None:
    """Raise RunConflictError if this process held a folder and has lost it; where it never held it, nothing is known or said."""
    lease = _held.get(str(folder))
    if lease is not None:
        lease.check(surely=surely)
