"""A model's folder, replaced whole.

Nobody ever sees half a model. A new one is written to a hidden folder beside, brought to disk, and then
swapped with the old one in a single system call (Linux renameat2, macOS renameatx_np); the old one is
deleted afterwards. A process killed on the way leaves the old model or the new one, and a hidden folder
that the next save to the same place clears away. On file systems that cannot swap, the old model is
first renamed to ``.NAME.old``, where ``open_folder`` finds it should the process be killed just then.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cofactor.errors import CofactorError
from cofactor.storage.folders import (
    ATTEMPTS,
    FILES,
    HARMLESS,
    READ,
    READ_FOLDER,
    aside_of,
    check_replaceable,
    display,
    is_at,
)

_SCRATCH = re.compile(r"\.tmp\w{6}")  # safetensors writes to such a file before renaming it
_PATIENCE = 30.0  # seconds to wait for another process that is replacing the same folder
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}
_IN_THE_WAY = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}


def replace_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Put a new model at ``target`` (resolved), whole: ``write(folder)`` makes the ``FILES`` in it.

    Raises ``BadParameter`` where something is at ``target`` that is not a model, nor an empty folder;
    ``OSError`` where the system refuses. Then, and where ``write`` raises, what was there is unchanged.
    """
    check_replaceable(target)
    made: list[Path] = []
    try:
        _make_parents(target.parent, made)
        _clear_leftovers(target)
        temporary, lock = _make_temporary(target)
        try:
            write(temporary)
            for name in FILES:
                _sync(temporary / name)
            _sync(temporary)
            _install(temporary, target)
            with suppress(OSError):  # it is done; should the disk forget it, the old model is whole
                _sync(target.parent)
                _clear_aside(target)
        finally:
            _remove(temporary)  # the old model once they are swapped, and the new one where they are not
            os.close(lock)
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _make_parents(folder: Path, made: list[Path]) -> None:
    """Make a folder and those it is in; the ones made are put into ``made``, innermost first."""
    if not folder.exists():
        _make_parents(folder.parent, made)
        folder.mkdir(exist_ok=True)
        made.insert(0, folder)


def _make_temporary(target: Path) -> tuple[Path, int]:
    """A new folder beside the target, and an open handle that holds a lock on it.

    The lock, which ends with the process however it ends, tells others that the folder is in use.
    """
    for _ in range(ATTEMPTS):
        folder = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(8)}.tmp")
        folder.mkdir()
        try:
            handle = os.open(folder, READ_FOLDER)
        except FileNotFoundError:
            continue
        except BaseException:
            _remove(folder)
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process takes it for a leftover
            os.close(handle)
            continue
        except OSError:  # a file system without locks: then others leave the folder alone
            pass
        if is_at(handle, folder):
            with suppress(OSError):  # a private folder stays private
                os.fchmod(handle, stat.S_IMODE(target.stat().st_mode) | stat.S_IRWXU)
            return folder, handle
        os.close(handle)
    raise FileNotFoundError(errno.ENOENT, "the temporary folder keeps vanishing")


def _clear_leftovers(target: Path) -> None:
    """Delete the hidden folders of processes killed while saving to ``target``."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9]+-[0-9a-f]{{16}}\.tmp")
    with suppress(OSError):
        for name in os.listdir(target.parent):
            if ours.fullmatch(name):
                with suppress(OSError), _locked(target.parent / name, patience=0):
                    _remove(target.parent / name)


def _remove(folder: Path) -> None:
    """Delete a folder of ours, if nothing is in it but what we write. Never raises ``OSError``."""
    with suppress(OSError):
        handle = os.open(folder, READ_FOLDER | os.O_NOFOLLOW)
        try:
            with os.scandir(handle) as listed:
                entries = list(listed)
            names = [entry.name for entry in entries]
            ours = all(name in FILES or name in HARMLESS or _SCRATCH.fullmatch(name) for name in names)
            if not ours or any(entry.is_dir(follow_symlinks=False) for entry in entries):
                return
            with suppress(OSError):  # it may have been made read-only
                os.fchmod(handle, stat.S_IRWXU)
            for name in names:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=handle)
        finally:
            os.close(handle)
        folder.rmdir()


def _install(temporary: Path, target: Path) -> None:
    """Put ``temporary`` in the place of ``target``; a model that was there ends up at ``temporary``."""
    aside = aside_of(target)
    for _ in range(ATTEMPTS):
        check_replaceable(target)
        try:
            try:
                os.rename(temporary, target)  # onto nothing, or an empty folder
            except OSError as error:
                if error.errno not in _IN_THE_WAY:
                    raise
                if not _exchange(temporary, target):
                    with _locked(target.parent, _PATIENCE):
                        _rename_twice(temporary, target, aside)
            return
        except OSError as error:
            if error.errno not in _IN_THE_WAY:  # else another process came between: look again
                raise
    raise CofactorError(
        f"{display(target)} could not be replaced: other processes keep changing it, or {display(aside.name)} "
        f"beside it is in the way. See what is there, and save again."
    )


def _rename_twice(temporary: Path, target: Path, aside: Path) -> None:
    """What stands in for ``_exchange``; the old model ends up deleted."""
    if os.path.lexists(target):
        _remove(aside)
    os.rename(target, aside)
    try:
        os.rename(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.rename(aside, target)
        raise


def _clear_aside(target: Path) -> None:
    """Delete what a process killed between its two renames has left, now that a model is at ``target``."""
    if os.path.lexists(aside_of(target)):
        with _locked(target.parent, _PATIENCE):
            if os.path.lexists(target):
                _remove(aside_of(target))


@contextmanager
def _locked(folder: Path, patience: float) -> Iterator[None]:
    """Hold the lock of a folder, or raise ``OSError`` where it is taken for longer than ``patience``."""
    handle = os.open(folder, READ_FOLDER | os.O_NOFOLLOW)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
            except OSError:
                if not patience:
                    raise
                break  # no locks here: then it must do without
        yield
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    """Bring a file or folder to disk, so that not even a power failure takes it back."""
    handle = os.open(path, READ)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise  # some file systems cannot sync a folder: then it is left to them
    finally:
        os.close(handle)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where that cannot be done here."""
    call = _exchange_call()
    if call is None:
        return False
    if call(os.fsencode(first), os.fsencode(second)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(second))


@functools.cache
def _exchange_call() -> Callable[[bytes, bytes], int] | None:
    libc = ctypes.CDLL(None, use_errno=True)
    here, swap = -100 if sys.platform == "linux" else -2, 2  # AT_FDCWD; RENAME_EXCHANGE and RENAME_SWAP
    name = {"linux": "renameat2", "darwin": "renameatx_np"}.get(sys.platform, "")
    if not name or not hasattr(libc, name):
        return None
    call = getattr(libc, name)
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return lambda first, second: int(call(here, first, here, second, swap))
