"""Files and folders that are either whole or not there: written beside their place, then renamed into it."""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whetstone.platform.errors import WhetstoneError

_FULL_BYTES = 1 << 20  # so little is left after a write that failed for want of space


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """WhetstoneError if a write of `path` fails on a full disk; the writers of weights and indexes have errors of their own for that."""
    try:
        yield
    except Exception as error:
        is_full = path.parent.is_dir() and shutil.disk_usage(path.parent).free < _FULL_BYTES
        if isinstance(error, WhetstoneError) or not (is_full or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)):
            raise
        raise WhetstoneError(f"{path} can't be written: {error}; free some of its disk, and build again") from error


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old content or the new, never a part."""
    data = content.encode() if isinstance(content, str) else content
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on a clean exit it becomes `path` (replacing what was there), otherwise it is removed."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with _writing(path):
            yield beside
            if path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
                os.replace(path, old / "content")  # a rename onto a non-empty folder isn't possible
                os.replace(beside, path)
                shutil.rmtree(old)
            else:
                os.replace(beside, path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


@contextmanager
def exclusive(path: Path, otherwise: str | None = None) -> Iterator[None]:
    """Hold a lock file while inside; it is free again when the process ends, however it ends.

    WhetstoneError: another process holds it; `otherwise` says what that means. Without it this waits instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if otherwise else 0))
        except OSError as error:
            raise WhetstoneError(f"{otherwise} ({path} is locked); wait for it to end") from error
        yield


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
