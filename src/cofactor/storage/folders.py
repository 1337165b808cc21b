"""A model's folder: its files, what may be taken for one, and how it is opened whole.

All this while another process may be replacing it (see ``replacing.py``).
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from cofactor.errors import BadModel, BadParameter, shorten

FORMAT = "cofactor-model"
MANIFEST = "manifest.json"
FACTORS = "factors.safetensors"
IDS = "ids.parquet"
FILES = (FACTORS, IDS, MANIFEST)
LONGEST_MANIFEST = 2**24

HARMLESS = {".DS_Store"}  # what a file manager leaves in every folder
ATTEMPTS = 100  # how often to look again where another process changes a folder
READ = os.O_RDONLY | os.O_CLOEXEC
READ_FOLDER = READ | os.O_DIRECTORY
READ_FILE = READ | os.O_NOFOLLOW | os.O_NONBLOCK  # O_NONBLOCK: a named pipe would be waited for for ever
NO_PLAIN_FILE = {errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO}


def display(path: object) -> str:
    """A path, for use in a message."""
    text = str(path)
    return text if len(text) <= 160 and text.isprintable() else shorten(text, 160)


def resolve(path: str | os.PathLike[str]) -> Path:
    """Where a path leads once symbolic links are followed; it need not exist."""
    try:
        text = os.fspath(path)
        if not isinstance(text, str) or not text or "\0" in text:
            raise TypeError
        return Path(os.path.realpath(text))
    except (TypeError, OSError):  # OSError: it starts from a current folder that is gone
        raise BadParameter(
            f"{shorten(path)} is not a path. Give the path of a model's folder, such as 'model/'."
        ) from None


def aside_of(target: Path) -> Path:
    """Where the old model stands between the two renames of a folder that cannot be swapped."""
    return target.with_name(f".{target.name}.old")


def open_folder(path: Path) -> tuple[Path, dict[str, BinaryIO]]:
    """The folder in use, and its ``FILES`` by name, open for reading and all of one version.

    ``path`` is resolved. Links inside the folder are not followed. Where another process replaces the
    folder in between, the new one is opened. Raises ``BadModel`` where there is no such folder or file,
    or it is not a plain file, or may not be read.
    """
    for _ in range(ATTEMPTS):
        for folder in (path, aside_of(path)):
            try:
                handle = os.open(folder, READ_FOLDER)
            except (FileNotFoundError, NotADirectoryError):
                if os.path.lexists(path):
                    if path.is_dir():
                        break  # it came back between two renames
                    raise BadModel(
                        f"{display(path)} is a file. A model is a folder: give its path."
                    ) from None
                continue
            except OSError as error:
                raise BadModel(
                    f"{display(path)} cannot be opened ({error.strerror}). Give the path of a model's folder "
                    f"that you may read."
                ) from None
            try:
                files = _open_files(handle, path, folder)
                if files is not None:
                    return folder, files
            finally:
                os.close(handle)
            break  # it was replaced while being opened
    raise BadModel(f"There is no folder {display(path)}. Give the folder that cofactor.save() wrote.")


def _open_files(handle: int, path: Path, folder: Path) -> dict[str, BinaryIO] | None:
    """The files of an open folder; None where another has come in its place."""
    files: dict[str, BinaryIO] = {}
    try:
        for name in FILES:
            file: BinaryIO = os.fdopen(os.open(name, READ_FILE, dir_fd=handle), "rb")
            files[name] = file
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError(errno.EISDIR, "not a plain file")
    except OSError as error:
        for file in files.values():
            file.close()
        if isinstance(error, FileNotFoundError) and not is_at(handle, path if path.exists() else folder):
            return None
        if isinstance(error, FileNotFoundError):
            reason = "is missing"
        elif error.errno in (errno.ELOOP, errno.EMLINK):
            reason = "is a symbolic link, which is not followed"
        elif error.errno in NO_PLAIN_FILE:
            reason = "is not a plain file"
        else:
            reason = f"cannot be opened ({error.strerror})"
        raise BadModel(
            f"{display(folder)}: {name} {reason}. Give a folder that cofactor.save() wrote, with its files "
            f"{', '.join(FILES)}."
        ) from None
    return files


def is_at(handle: int, folder: Path) -> bool:
    """Whether the folder at a path is the one that is open as ``handle``."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder))
    except OSError:
        return False


def check_replaceable(target: Path) -> None:
    """``BadParameter`` unless there is nothing at ``target``, or an empty folder, or a model."""
    in_use = not target.name
    with suppress(OSError):  # one of the two is not there
        in_use = in_use or os.path.samefile(target, os.curdir)
    if in_use:
        raise BadParameter(
            f"{display(target)} cannot be replaced while it is in use. Name a folder inside it."
        )
    trouble = "keeps changing"
    for _ in range(ATTEMPTS):
        try:
            handle = os.open(target, READ_FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            if not os.path.lexists(target):
                return
            if target.is_dir():
                continue  # it came just now
            raise BadParameter(
                f"{display(target)} is a file; a model is saved as a folder. Give another path, or delete the file."
            ) from None
        try:
            trouble = _strange_in(handle)
            if not trouble:
                return
            if is_at(handle, target):
                break
        finally:
            os.close(handle)
    raise BadParameter(
        f"{display(target)} {trouble}: it is not a cofactor model, so it is not replaced. Give a new path or an "
        f"empty folder; or delete this one, if you are sure."
    )


def _strange_in(handle: int) -> str:
    """Why an open folder is neither a model nor empty; the empty string where it is."""
    names = set(os.listdir(handle)) - HARMLESS
    strange = sorted(names.difference(FILES))
    if strange:
        return f"holds {shorten(strange[0])}"
    if not names:
        return ""
    try:
        with os.fdopen(os.open(MANIFEST, READ_FILE, dir_fd=handle), "rb") as file:
            manifest: Any = json.loads(file.read(LONGEST_MANIFEST + 1))
        if isinstance(manifest, dict) and manifest.get("format") == FORMAT:
            return ""
    except (FileNotFoundError, ValueError, RecursionError):
        pass
    except OSError as error:
        if error.errno not in NO_PLAIN_FILE:
            raise
    return f"has no {MANIFEST} of a model"
