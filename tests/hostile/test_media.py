"""Images and sounds that are none, too large, cut short, or unlike the others."""

from __future__ import annotations

import io
import struct
import wave
import zlib

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.media import read_images, read_sounds
from tests.conftest import missing

try:
    from PIL import Image
except ImportError:
    Image = None


def png(pixels: np.ndarray) -> bytes:
    if Image is None:
        missing("Pillow")
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def wav(samples: np.ndarray, size: int = 2, rate: int = 8000) -> bytes:
    out = io.BytesIO()
    whole = np.round(samples * (2 ** (8 * size - 1) - 1)).astype(np.int64)
    if size == 1:
        data = (whole + 128).astype(np.uint8).tobytes()
    else:
        data = b"".join(int(v).to_bytes(size, "little", signed=True) for v in whole.ravel())
    with wave.open(out, "wb") as sound:
        sound.setnchannels(samples.shape[1])
        sound.setsampwidth(size)
        sound.setframerate(rate)
        sound.writeframes(data)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A small file that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10**6))
        + chunk(b"IEND", b"")
    )


def test_images(tmp_path):
    half = np.zeros((40, 60, 3), np.uint8)
    half[:, 30:, 0] = 255
    (tmp_path / "7.png").write_bytes(png(half))
    (tmp_path / "b.PNG").write_bytes(png(half[..., 0]))
    (tmp_path / "notes.txt").write_text("not an image")
    images = read_images(tmp_path, size=(4, 6))
    assert images.ids.array.to_pylist() == ["7", "b"]
    assert images.values.shape == (2, 4, 6, 3)
    assert_allclose(images.values[0, :, 5], np.tile([1, 0, 0], (4, 1)), atol=0.01)
    assert_allclose(images.values[0, :, 0], 0, atol=0.01)
    assert read_images(tmp_path, size=(2, 2), colour=False).values.shape == (2, 2, 2, 1)
    with pytest.raises(cf.BadData, match="not named by a whole number"):
        read_images(tmp_path, integer_ids=True)
    (tmp_path / "b.PNG").unlink()
    assert read_images(tmp_path, integer_ids=True).ids.array.to_pylist() == [7]


@pytest.mark.parametrize("name", ["empty", "text", "cut short", "bomb", "huge bomb", "gif", "spoilt"])
def test_images_that_are_none(tmp_path, name):
    good = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    gif = io.BytesIO()
    Image.new("RGB", (4, 4)).save(gif, "GIF")
    content = {
        "empty": b"",
        "text": b"<html>",
        "cut short": good[: len(good) // 2],
        "bomb": bomb(10_000, 10_000),
        "huge bomb": bomb(2**31 - 1, 2**31 - 1),
        "gif": gif.getvalue(),
        "spoilt": good[:60] + b"\xff" * 50 + good[110:],
    }
    (tmp_path / "x.png").write_bytes(content[name])
    with pytest.raises(cf.BadData, match=r"x\.png"):
        read_images(tmp_path)


def test_sounds(tmp_path):
    tone = np.sin(np.arange(50) / 5)[:, None] * [0.5, -0.9]
    for size in (1, 2, 3, 4):
        (tmp_path / f"{size}.wav").write_bytes(wav(tone, size))
    sounds = read_sounds(tmp_path, samples=80, integer_ids=True)
    assert sounds.values.shape == (4, 80, 2)
    for row, size in enumerate((1, 2, 3, 4)):
        assert_allclose(sounds.values[row, :50], tone, atol=2.0 ** (2 - 8 * size) + 1e-6)
    assert_array_equal(sounds.values[:, 50:], 0)
    assert_array_equal(read_sounds(tmp_path, samples=10).values, sounds.values[:, :10])


def test_sounds_that_are_none_or_unlike_the_others(tmp_path):
    good = wav(np.zeros((100, 1)))
    for content in (
        b"",
        b"RIFF",
        good[:30],
        good.replace(b"WAVE", b"WAVY"),
        good[:20] + b"\x55\0" + good[22:],
    ):
        (tmp_path / "x.wav").write_bytes(content)
        with pytest.raises(cf.BadData, match=r"x\.wav' is no PCM sound"):
            read_sounds(tmp_path, samples=10)
    (tmp_path / "x.wav").write_bytes(good[:-50])  # fewer than its header says: the rest is silence
    assert read_sounds(tmp_path, samples=200).values.shape == (1, 200, 1)
    (tmp_path / "y.wav").write_bytes(wav(np.zeros((9, 2))))
    with pytest.raises(cf.BadData, match="2 channels at 8000 Hz"):
        read_sounds(tmp_path, samples=10)
    (tmp_path / "y.wav").write_bytes(wav(np.zeros((9, 1)), rate=44100))
    with pytest.raises(cf.BadData, match="44100"):
        read_sounds(tmp_path, samples=10)


@pytest.mark.parametrize("size", [(0, 4), (4,), 4, (4.0, 4), (10**6, 10**6), None])
def test_sizes_that_cannot_be(tmp_path, size):
    with pytest.raises(cf.BadParameter, match="size is"):
        read_images(tmp_path, size=size)


def test_folders_without_any(tmp_path):
    with pytest.raises(cf.BadParameter, match=r"no \.png file"):
        read_images(tmp_path)
    for folder in (tmp_path, tmp_path / "not there"):
        with pytest.raises(cf.BadParameter, match=r"no \.wav file"):
            read_sounds(folder)
    with pytest.raises(cf.BadParameter, match="samples is 0"):
        read_sounds(tmp_path, samples=0)
    (tmp_path / "d.png").mkdir()
    with pytest.raises(cf.BadData, match="is no file"):
        read_images(tmp_path)
