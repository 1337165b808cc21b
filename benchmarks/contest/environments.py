"""The peers, and where each can run: in this interpreter, or in an environment of its own, which is made once."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path


class Absent(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True)
class Peer:
    """A library: the adapter that drives it, the module that shows whether it is there, and what pip installs."""

    name: str
    adapter: str
    module: str
    requirements: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()  # variables that it asks for


PEERS = {
    peer.name: peer
    for peer in (
        Peer("cmfrec", "cmfrec", "cmfrec", ("cmfrec>=3.5", "threadpoolctl")),
        Peer("LensKit", "lenskit", "lenskit", ("lenskit>=2025.8",)),
        Peer("implicit", "implicit", "implicit", ("implicit>=0.7",), (("OPENBLAS_NUM_THREADS", "1"),)),
        Peer("Surprise", "surprise", "surprise", ("scikit-surprise>=1.1.4", "pandas")),
        Peer("myFM", "myfm", "myfm", ("myfm>=0.4",)),
        Peer("Spark", "spark", "pyspark", ("pyspark>=4.0", "pandas<3", "pyarrow")),
    )
}


def interpreter(peer: Peer, folder: Path, make: bool) -> str:
    """A Python that has the peer: with ``make`` that of an environment in ``folder``, else this one.

    Raises ``Absent``.
    """
    if peer.name == "Spark" and not shutil.which("java"):
        raise Absent("there is no java")
    home = folder.resolve() / peer.adapter
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not make:
        if importlib.util.find_spec(peer.module) is None:
            raise Absent("it is not installed, and a quick look makes no environment")
        return sys.executable
    if (home / "ready").exists():
        return str(python)
    print(f"Making an environment for {peer.name} in {home} …", file=sys.stderr)
    venv.create(home, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "-q", *peer.requirements]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Absent(
            f"pip could not install it ({(done.stderr.strip().splitlines() or ['no reason given'])[-1]})"
        )
    (home / "ready").touch()
    return str(python)


def libmf(path: Path | None, folder: Path) -> dict[str, str]:
    """LIBMF as a library, compiled from the source in ``path`` (a folder, or a program in it): as its makefile has it,
    and, on x86, with AVX, which is faster but ends at other errors.

    Raises ``Absent``.
    """
    if path is None:
        raise Absent("no --libmf PATH and no $LIBMF")
    source = path if path.is_dir() else path.parent
    if not (source / "mf.cpp").is_file():
        raise Absent(f"there is no mf.cpp in {source}: give the folder of its source")
    built = {"LIBMF": _make(source, folder.resolve() / "libmf")}
    if platform.machine() in ("x86_64", "AMD64"):
        built["LIBMF with AVX"] = _make(source, folder.resolve() / "libmf-avx", "DFLAG=-DUSEAVX -DUSEOMP")
    return built


def _make(source: Path, home: Path, *flags: str) -> str:
    library = home / "libmf.so"
    if not library.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        for name in ("mf.cpp", "mf.h", "Makefile"):
            shutil.copy(source / name, home)
        command = [
            "make",
            "-C",
            str(home),
            "lib",
            "CXX=c++ -fopenmp",
            "SHVER=",
            *flags,
        ]  # it links without OpenMP
        done = subprocess.run(command, capture_output=True, text=True)
        found = [path for path in home.glob("libmf.*") if path != library]
        if done.returncode or not found:
            raise Absent(f"make failed ({(done.stderr.strip().splitlines() or ['no reason given'])[-1]})")
        found[0].rename(library)
    return str(library)
