"""Files and folders that are either whole or not there: written beside their place, then renamed into it."""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whetstone.platform.errors import WhetstoneError

_MENDS: dict[int | None, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some of its disk"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make its folder writable"),
}
_FULL_BYTES = 1 << 20  # so little is left after a write that failed for want of space


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path beside `path` to write, removed if that fails. WhetstoneError: its disk is read-only or full."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
    except BaseException as error:
        is_full = path.parent.is_dir() and shutil.disk_usage(path.parent).free < _FULL_BYTES
        mend = "free some of its disk" if is_full else None
        if isinstance(error, OSError) and Path(str(error.filename or path)).is_relative_to(path.parent):
            mend = _MENDS.get(error.errno, mend)
        shutil.rmtree(beside, ignore_errors=True)
        if beside.is_file():
            beside.unlink()
        if mend and isinstance(error, Exception) and not isinstance(error, WhetstoneError):
            raise WhetstoneError(f"{path} can't be written: {error}; {mend}, and build again") from error
        raise


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old content or the new, never a part."""
    with _beside(path) as beside:
        with beside.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on a clean exit it becomes `path` (replacing what was there), otherwise it is removed."""
    with _beside(path) as beside:
        beside.mkdir()
        yield beside
        if path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.old.") as old:
                os.replace(path, Path(old) / "content")  # a rename onto a non-empty folder isn't possible
                os.replace(beside, path)
        else:
            os.replace(beside, path)


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
