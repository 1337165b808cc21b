"""Who takes part, and with which settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from descent import SETTING, SOONEST

from contest.environments import PEERS

REG = {  # by rank, another takes the nearest: the best of a grid by the error on a tenth of the training part of ML-1M
    "cofactor": {16: 1.0, 64: 1.3, 128: 1.3},
    "cofactor SGD": {64: SETTING["reg"]},
    "cmfrec": {16: 15.0, 64: 25.0, 128: 25.0},
    "LensKit": {16: 0.08, 64: 0.08, 128: 0.07},
    "Spark": {64: 0.06},
    "implicit": {64: 0.05},  # any: it is not judged by an error
    "LIBMF": {64: 0.05},  # with a rate of 0.1: what descent.py measures, too
    "Surprise": {64: 0.05},
    "myFM": {64: 0.0},  # it draws its own
}
SGD = {"model": "SGD", "reg_exponent": SETTING["reg_exponent"]}
ALS_LENGTHS, SGD_LENGTHS = (1, 2, 4, 7, 10, 15, 20), (3, 5, 8, 10, 12, 14, 16, 18, 20, 30)
SOON_LENGTHS = (3, 4, 5, 6, 7, 8, 10)


@dataclass(frozen=True)
class Contender:
    """One way of a library to fit ratings.

    ``options`` are for its adapter, ``reg`` is λ by rank. ``objective``: the exponent of λ, and whether biases are
    penalized; None where J cannot be compared. ``lengths``: sweeps of the fits that show time against error.
    """

    name: str
    library: str
    adapter: str
    options: dict[str, Any]
    reg: dict[int, float]
    objective: tuple[float, bool] | None = None
    lengths: tuple[int, ...] = ()

    def reg_at(self, rank: int) -> float:
        """λ at this rank: that of the nearest known one."""
        return self.reg[min(self.reg, key=lambda known: abs(known - rank))]


def own_name(solver: str, library: str) -> str:
    return f"cofactor {solver}, equation of {library}"


def _own(library: str, solver: str, objective: tuple[float, bool], **options: Any) -> Contender:
    options = {"model": "ALS", "solver": solver, "reg_exponent": objective[0], **options}
    return Contender(own_name(solver, library), "cofactor", "own", options, REG[library], objective)


def _peer(name: str, library: str, objective: tuple[float, bool] | None, **options: Any) -> Contender:
    return Contender(name, library, PEERS[library].adapter, options, REG[library], objective)


_INSIDE, _OUTSIDE = (0.0, True), (1.0, False)  # biases
SAME_EQUATION = [
    *(_own("cmfrec", solver, _INSIDE) for solver in ("auto", "cholesky", "cg")),
    _peer("cmfrec Cholesky", "cmfrec", _INSIDE, solver="cholesky"),
    _peer("cmfrec CG", "cmfrec", _INSIDE, solver="cg"),
    _peer("cmfrec CG only", "cmfrec", _INSIDE, solver="cg-only"),
    *(_own("LensKit", solver, _OUTSIDE, biases=None, residuals=5.0) for solver in ("auto", "cholesky")),
    _peer("LensKit", "LensKit", _OUTSIDE),
    _own("Spark", "auto", _OUTSIDE, biases=None),
    _peer("Spark", "Spark", _OUTSIDE),
    _peer("implicit", "implicit", None),
]


def against_time(libmf: dict[str, str]) -> list[Contender]:
    """Who shows time against error, each with its best settings; ``libmf``: name and path of what was built of it."""
    peers = [
        ("cmfrec CG", "cmfrec", {"solver": "cg"}, ALS_LENGTHS),
        ("cmfrec CG only", "cmfrec", {"solver": "cg-only"}, ALS_LENGTHS),
        ("LensKit", "LensKit", {}, ALS_LENGTHS),
        ("Spark", "Spark", {}, (2, 5, 10)),
        ("Surprise SVD", "Surprise", {}, (5, 10, 20, 40)),
        ("myFM", "myFM", {}, (5, 10, 20, 40)),
    ]
    return [
        Contender("cofactor ALS", "cofactor", "own", {"model": "ALS"}, REG["cofactor"], lengths=ALS_LENGTHS),
        *(
            Contender(name, "cofactor", "own", {**SGD, "rate": rate}, REG["cofactor SGD"], lengths=lengths)
            for name, rate, lengths in (
                ("cofactor SGD", SETTING["rate"], SGD_LENGTHS),
                ("cofactor SGD, few sweeps", SOONEST["rate"], SOON_LENGTHS),
            )
        ),
        *(
            Contender(name, "LIBMF", "libmf", {"library": path}, REG["LIBMF"], lengths=SGD_LENGTHS)
            for name, path in libmf.items()
        ),
        *(
            Contender(name, library, PEERS[library].adapter, options, REG[library], lengths=lengths)
            for name, library, options, lengths in peers
        ),
    ]
