"""Folders of images and of sounds, read as ``Features``. Files are hostile: nothing is unpacked unmeasured."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadData, BadParameter, NotSupported, first_sentence, shorten
from cofactor.features import Features
from cofactor.ids import Id

_MOST_PIXELS = 50_000_000  # of an image as it stands in its file
_MOST_SAMPLES = 1 << 24  # of a sound, or numbers of an image, as it is kept
_LARGEST_FILE = 1 << 30


def read_images(
    folder: str | Path, *, size: tuple[int, int] = (32, 32), colour: bool = True, integer_ids: bool = False
) -> Features:
    """The PNG images of a folder, (ids, height, width, channels) between 0 and 1; needs Pillow (extra ``content``).

    The id of an image is the name of its file without ``.png``; with ``integer_ids`` it must be a whole number.
    ``size`` is (height, width): every image is scaled to it. Without ``colour`` there is one channel, else three.

    Raises ``BadData`` for a file that is no PNG image, is cut short, or has more than 50 million pixels;
    ``BadParameter`` where the folder holds none.
    """
    try:
        from PIL import Image
    except ImportError:
        raise NotSupported('Images need Pillow. Install it: pip install "cofactor[content]".') from None
    height, width = _checked_size(size, 3 if colour else 1)

    def read(path: Path) -> NDArray[np.float32]:
        with Image.open(path, formats=("PNG",)) as image:  # reads the header alone
            if image.width * image.height > _MOST_PIXELS:
                raise BadData(
                    f"{path.name} has {image.width:,} × {image.height:,} pixels, more than {_MOST_PIXELS:,}. Make it "
                    f"smaller, or leave it out."
                )
            image.load()
            kept = image.convert("RGBA").convert("RGB" if colour else "L").resize((width, height))
        pixels = np.asarray(kept, np.float32) / np.float32(255)
        return pixels.reshape(height, width, -1)

    # Pillow's own errors and warnings of bombs come before the count above for the very largest
    refused = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)
    return _read(folder, ".png", read, refused, "PNG image", integer_ids)


def read_sounds(folder: str | Path, *, samples: int = 16_000, integer_ids: bool = False) -> Features:
    """The WAV files of a folder, (ids, samples, channels) between −1 and 1.

    Of each the first ``samples`` are read; a shorter one is followed by silence. PCM of 8, 16, 24 or 32 bits; all files
    must have the same rate and number of channels. The id of a sound is the name of its file without ``.wav``.

    Raises ``BadData`` for a file that is no such sound or unlike the others; ``BadParameter`` where there is none.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or not 1 <= samples <= _MOST_SAMPLES:
        raise BadParameter(f"samples is {samples!r}; give a whole number from 1 to {_MOST_SAMPLES:,}.")
    first: list[tuple[str, int, int]] = []

    def read(path: Path) -> NDArray[np.float32]:
        with wave.open(str(path), "rb") as sound:
            channels, rate, size = sound.getnchannels(), sound.getframerate(), sound.getsampwidth()
            first.append((path.name, channels, rate))
            if first[0][1:] != (channels, rate):
                raise BadData(
                    f"{path.name} has {channels} channels at {rate} Hz, {first[0][0]} has {first[0][1]} at "
                    f"{first[0][2]}. Bring all sounds to the same."
                )
            if samples * channels > _MOST_SAMPLES:
                raise BadData(f"{path.name} has {channels} channels, too many for {samples:,} samples each.")
            data = sound.readframes(samples)
        heard = _pcm(data[: len(data) // (size * channels) * size * channels], size).reshape(-1, channels)
        out = np.zeros((samples, channels), np.float32)
        out[: len(heard)] = heard
        return out

    return _read(folder, ".wav", read, (OSError, EOFError, wave.Error, ValueError), "PCM sound", integer_ids)


def _pcm(data: bytes, size: int) -> NDArray[np.float32]:
    """Samples between −1 and 1 of so many bytes each, little-endian."""
    if size == 1:  # unsigned, unlike the others
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if size == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, size = wide.tobytes(), 4
    return np.asarray(np.frombuffer(data, f"<i{size}") / float(1 << (8 * size - 1)), np.float32)


def _checked_size(size: Any, channels: int) -> tuple[int, int]:
    sound = isinstance(size, (tuple, list)) and len(size) == 2
    if (
        not sound
        or not all(type(n) is int and n >= 1 for n in size)
        or size[0] * size[1] * channels > _MOST_SAMPLES
    ):
        raise BadParameter(f"size is {shorten(size)}; give (height, width) in pixels, such as (32, 32).")
    return size[0], size[1]


def _read(
    folder: str | Path,
    ending: str,
    read: Callable[[Path], NDArray[np.float32]],
    refused: tuple[type[BaseException], ...],
    what: str,
    integer_ids: bool,
) -> Features:
    """All files of a folder with this ending, in order of name."""
    home = Path(folder)
    paths = sorted(p for p in home.iterdir() if p.suffix.lower() == ending) if home.is_dir() else []
    if not paths:
        raise BadParameter(f"There is no {ending} file in {shorten(str(folder))}. Give a folder of them.")
    ids: list[Id] = []
    rows = []
    for path in paths:
        if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            raise BadData(f"{shorten(path.name)} is no file, or one of more than a gigabyte. Leave it out.")
        try:
            rows.append(read(path))
        except BadData:
            raise
        except refused as error:
            raise BadData(
                f"{shorten(path.name)} is no {what} that can be read "
                f"({first_sentence(str(error)) or 'it ends early'}). Mend it or leave it out."
            ) from None
        ids.append(_as_integer(path) if integer_ids else path.stem)
    return Features.of_arrays(ids, np.stack(rows))


def _as_integer(path: Path) -> int:
    try:
        if str(int(path.stem)) == path.stem:
            return int(path.stem)
    except ValueError:
        pass
    raise BadData(f"{shorten(path.name)} is not named by a whole number, as integer_ids asks. Rename it.")
