"""The tests of the compiled kernels at every vector width of this processor, plain and under sanitizers.

    python scripts/check_kernels.py

``check.py`` runs this with the Python of ``.venv``, in which cofactor is installed; that and a C++20 compiler is all it
needs. The kernels are compiled once more, with the address and the undefined-behaviour sanitizer of GCC or Clang, into
``build/sanitized``, where a copy of the package has them in place of the installed ones. The first wrong access ends
the tests. Sanitizers are left out where the compiler has none; with COFACTOR_REQUIRE_ALL=1 that is a failure.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "sanitized"
PACKAGES = BUILD / "packages"  # goes onto PYTHONPATH
TESTS = [
    "tests/test_kernels.py",
    "tests/test_weight_kernels.py",
    "tests/test_descent.py",
    "tests/test_neighbours.py::test_kernels_are_their_twins",
    "tests/test_neighbours.py::test_threads_change_no_bit",
    "tests/test_als.py::test_als_keeps_the_contract",
    "tests/test_als.py::test_threads_change_no_bit_of_a_fit",
]
WIDTHS = ("avx512", "avx2", "baseline")
# Under sanitizers the output of pytest goes past it, so that the report of a process that ends is seen.
WATCHED = ["-p", "no:cacheprovider", "-p", "no:faulthandler", "--capture=sys"]
# It takes the longest and is about accuracy; other rows are long enough for all that is done with long ones.
WATCHED += ["--deselect", "tests/test_kernels.py::test_a_row_of_ten_million_ratings_keeps_its_accuracy"]

NAME_WIDTH = "from cofactor import kernels; print(kernels.instruction_set()[0])"
# A position beyond the last row, past the checks of kernels/__init__.py: the sanitizer must see it.
FAULT = """
import numpy as np
from cofactor.kernels import _native
print(_native.__file__, _native.instruction_set()[0], flush=True)
rows = 4096
bias, factors, out = np.zeros(rows, "f4"), np.zeros((rows, 16), "f4"), np.zeros(1, "f4")
_native.predict(np.array([rows], "i4"), np.zeros(1, "i4"), factors, bias, factors, bias, 0.0, out, 1)
"""


def run(*command: str | Path, **environment: str) -> None:
    """Run one step from the root of the repository; stop at the first that fails."""
    print("$", *(f"{name}={value}" for name, value in environment.items()), *command, flush=True)
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, env={**os.environ, **environment}, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The outcome of a Python program."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def widths() -> list[str]:
    """The instruction sets that this processor has kernels for, the widest first."""
    found = []
    for isa in WIDTHS:
        done = python(NAME_WIDTH, COFACTOR_ISA=isa)
        if done.returncode:
            sys.exit(done.stderr)
        if done.stdout.strip() == isa:  # else the best it has
            found.append(isa)
    return found


def sanitizer_runtime() -> list[Path]:
    """The libraries to load before Python, or none where the compiler has no sanitizers."""
    cache = (BUILD / "CMakeCache.txt").read_text().splitlines()
    compiler = next(line.split("=", 1)[1] for line in cache if line.startswith("CMAKE_CXX_COMPILER:"))

    def library(*names: str) -> list[Path]:
        for name in names:
            told = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True)
            if Path(told.stdout.strip()).is_absolute():
                return [Path(told.stdout.strip()).resolve()]
        return []

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.cpp"
        source.write_text("int main() {}\n")
        command = [compiler, "-fsanitize=address,undefined", str(source), "-o", str(source.with_suffix(""))]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return []
    # Clang's first: it would find GCC's as well. With the C++ library, whose exceptions the sanitizer watches.
    clang = (f"libclang_rt.asan-{platform.machine()}.so", "libclang_rt.asan.so")
    runtime = library(*clang, "libasan.so")
    return runtime + library("libstdc++.so") if runtime else []


def build_sanitized() -> Path:
    """Compile what changed, and lay it into a copy of the package; the compiled module there."""
    run("cmake", "--build", BUILD)
    shutil.rmtree(PACKAGES, ignore_errors=True)
    shutil.copytree(ROOT / "src", PACKAGES, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    (module,) = BUILD.glob("_native.*.so")
    if any(name not in module.read_bytes() for name in (b"__asan_report", b"__ubsan_handle")):
        sys.exit(f"{module} was compiled without sanitizers. Remove {BUILD} and run this again.")
    return Path(shutil.copy2(module, PACKAGES / "cofactor" / "kernels"))


def sanitized_tests(isas: list[str]) -> None:
    """The tests once more, with every access to memory watched."""
    if sys.platform != "linux":
        print(f"Sanitizers are left out: they are run on Linux, and this is {sys.platform}.")
        return
    configure = ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", f"-DPython_EXECUTABLE={sys.executable}"]
    run("cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", *configure, "-DCOFACTOR_SANITIZE=ON")
    runtime = sanitizer_runtime()
    if not runtime:
        reason = "the compiler has no address and undefined-behaviour sanitizers"
        if os.environ.get("COFACTOR_REQUIRE_ALL") == "1":
            sys.exit(f"Sanitizers cannot be run: {reason}, and COFACTOR_REQUIRE_ALL=1.")
        print(f"Sanitizers are left out: {reason}.")
        return
    module = build_sanitized()
    for isa in isas:
        environment = {
            "COFACTOR_ISA": isa,
            "PYTHONPATH": str(PACKAGES),
            "LD_PRELOAD": " ".join(map(str, runtime)),
            "ASAN_OPTIONS": "detect_leaks=0",  # Python leaves memory to the system at its end
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        done = python(FAULT, **environment)
        seen = "AddressSanitizer: heap-buffer-overflow" in done.stderr
        if not seen or done.stdout.split() != [str(module), isa]:
            sys.exit(
                f"A wrong access of {isa} went unseen, or other kernels ran:\n{done.stdout}{done.stderr}"
            )
        run(sys.executable, "-m", "pytest", *WATCHED, *TESTS, **environment)


def main() -> None:
    """The plain tests at the widths that the whole test suite does not use, then all under sanitizers."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    isas = widths()
    print("Vector widths of this processor:", *isas)
    for isa in isas[1:]:
        run(sys.executable, "-m", "pytest", *TESTS, COFACTOR_ISA=isa)
    sanitized_tests(isas)


if __name__ == "__main__":
    main()
