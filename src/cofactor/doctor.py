"""What cofactor runs on: version, machine, vector width, threads, optional parts, and a self-test."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import metadata, util
from typing import Any

import numpy as np

import cofactor
from cofactor import kernels

# Optional parts: what each is for, and the distributions that it needs.
_OPTIONAL: dict[str, tuple[str, tuple[str, ...]]] = {
    "pandas": ("ratings from data frames", ("pandas",)),
    "polars": ("ratings from data frames", ("polars",)),
    "scipy": ("ratings from sparse matrices", ("scipy",)),
    "tune": ("search by Optuna", ("optuna",)),
    "serve": ("answers over HTTP", ("fastapi", "uvicorn", "sqlalchemy", "prometheus_client")),
    "ode": ("taste that drifts with time", ("jax", "diffrax", "equinox", "optax")),
    "content": ("factors from images and sounds", ("jax", "equinox", "optax", "PIL")),
    "ray": ("training on a cluster", ("ray",)),
    "spark": ("training on a cluster", ("pyspark",)),
    "postgres": ("ratings kept in PostgreSQL", ("psycopg",)),
}
_REQUIRED = ("numpy", "duckdb", "pyarrow", "safetensors", "typer", "rich", "matplotlib")


@dataclass(frozen=True)
class Part:
    """An optional part: version of each module that it needs; None where that is missing."""

    purpose: str
    versions: dict[str, str | None]

    @property
    def present(self) -> bool:
        """Whether all that it needs is there."""
        return all(version is not None for version in self.versions.values())


@dataclass(frozen=True)
class Health:
    """What ``examine`` found; ``kernel_error`` is the largest relative difference from NumPy."""

    version: str
    python: str
    platform: str
    instructions: str
    vector_bits: int
    threads: int
    kernel_error: float
    required: dict[str, str | None]
    optional: dict[str, Part]

    @property
    def kernels_agree(self) -> bool:
        """Whether the compiled kernels compute what NumPy does."""
        return self.kernel_error < 1e-9

    @property
    def sound(self) -> bool:
        """Whether everything that cofactor needs is there and computes rightly."""
        return self.kernels_agree and None not in self.required.values()

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "version": self.version,
            "python": self.python,
            "platform": self.platform,
            "instruction_set": self.instructions,
            "vector_bits": self.vector_bits,
            "threads": self.threads,
            "kernels_agree": self.kernels_agree,
            "kernel_error": self.kernel_error if np.isfinite(self.kernel_error) else None,
            "sound": self.sound,
            "required": self.required,
            "optional": {
                name: {"present": part.present, "for": part.purpose, "modules": part.versions}
                for name, part in self.optional.items()
            },
        }


def examine() -> Health:
    """Look at this machine and at what is installed; solve a small problem both ways."""
    name, bits = kernels.instruction_set()
    return Health(
        version=cofactor.__version__,
        python=f"{platform.python_version()} ({sys.executable})",
        platform=f"{platform.system()} {platform.release()}, {platform.machine()}",
        instructions=name,
        vector_bits=bits,
        threads=kernels.thread_count(),
        kernel_error=_kernel_error(),
        required={module: _version(module) for module in _REQUIRED},
        optional={
            part: Part(purpose, {module: _version(module) for module in modules})
            for part, (purpose, modules) in _OPTIONAL.items()
        },
    )


def _version(module: str) -> str | None:
    if util.find_spec(module) is None:
        return None
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        return "present"


def _kernel_error() -> float:
    """Largest relative difference between ``solve_rows`` and NumPy's own solution of the same ridge regressions."""
    rng = np.random.default_rng(0)
    counts = np.array([0, 3, 17, 40])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices = np.concatenate([np.sort(rng.choice(50, n, replace=False)) for n in counts]).astype(np.int32)
    values = rng.integers(1, 6, len(indices)).astype(np.float32)
    fixed, fixed_bias = rng.normal(size=(50, 16)), rng.normal(size=50)
    reg = np.full(len(counts), 0.7)
    out, bias = np.zeros((len(counts), 16)), np.zeros(len(counts))
    kernels.solve_rows(
        indptr, indices, values, fixed, fixed_bias, reg, out, bias, mean=3.0, solver="cholesky"
    )
    worst = 0.0
    for row in range(len(counts)):
        rated = indices[indptr[row] : indptr[row + 1]]
        x = np.hstack([fixed[rated], np.ones((len(rated), 1))])
        target = values[indptr[row] : indptr[row + 1]] - 3.0 - fixed_bias[rated]
        right = np.linalg.solve(x.T @ x + 0.7 * np.eye(17), x.T @ target)
        difference = np.abs(np.append(out[row], bias[row]) - right).max()
        worst = max(worst, float(difference / max(1.0, np.abs(right).max())))
    return worst if np.isfinite(worst) else float("inf")
