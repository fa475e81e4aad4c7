"""One writer per run, released by the kernel however that writer ends."""

from __future__ import annotations

import errno
import fcntl
import os
import warnings
import weakref
from pathlib import Path

from germ.errors import GermError

_NO_LOCKS_HERE = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


class Lock:
    """An exclusive lock on a folder, held until `release`, garbage collection or death.

    The lock file holds the process id, for the message of whoever comes second, and is deleted on
    release, so that a finished run holds nothing but Zarr.
    """

    def __init__(self, path: Path, run: Path) -> None:
        """Take the lock, or say who has it.

        Args:
            path: The lock file; its folder exists.
            run: The run, for messages.

        Raises:
            GermError: If another process (or another `Run` of this one) holds it.
            OSError: If the file cannot be made.
        """
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                _take(descriptor, run)
                # The holder before us may have deleted the file between our open and our lock:
                # then we hold a file without a name, and must take the one that has it.
                try:
                    current = os.path.samestat(os.fstat(descriptor), os.stat(path))
                except FileNotFoundError:
                    current = False
                if current:
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                    break
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        self._finalizer = weakref.finalize(self, _release, descriptor, path, os.getpid())
        # At exit the kernel releases; a forked child that exits must not release for its parent.
        self._finalizer.atexit = False

    def release(self) -> None:
        """Let the next writer in. Harmless when done twice."""
        self._finalizer()


def _take(descriptor: int, run: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        raise GermError(
            f"{run} is being written by process {owner or '(just starting)'}; "
            "wait until it ends, or give another --out"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
        warnings.warn(
            f"the file system of {run} has no locks; do not let two processes write one run",
            RuntimeWarning,
            stacklevel=4,
        )


def _release(descriptor: int, path: Path, owner: int) -> None:
    if os.getpid() == owner:
        try:
            os.unlink(path)
        except OSError:
            pass  # Gone with its folder, or read-only by now: the lock itself ends with the close.
    os.close(descriptor)
