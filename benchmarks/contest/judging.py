"""What the measurements say: figures with their bounds, and tables."""

from __future__ import annotations

from common import Figure

from contest.contenders import SAME_EQUATION, own_name
from contest.measuring import Data, Measured

# How many times faster cofactor has to be over all sweeps on real ratings: by peer and own solver, then by rank.
BOUNDS = {
    ("cmfrec CG", "auto"): {16: 1.5, 64: 2.0, 128: 2.0},
    ("LensKit", "auto"): {16: 1.5, 64: 2.0, 128: 2.0},
    ("LensKit", "cholesky"): {16: 2.5, 64: 2.5, 128: 2.5},
}
SAME_J = 1.001  # J of cofactor over that of the peer, at most
ML_1M = "MovieLens 1M"
TARGETS = {64: 0.8413, 128: 0.8381}  # held-out RMSE of ML-1M
LARGE = {"speed": 1 / 2, "memory": 1 / 2, "growth": 1.3}  # shares, on expanded sets


def judge_work(data: Data, rank: int, sweeps: int, found: dict[str, Measured]) -> list[Figure]:
    """The figures of the first part."""
    where = f"{data.name}, rank {rank}"
    figures = []
    for name, its in found.items():
        for what, value, unit in (
            (f"{sweeps} sweeps", its.seconds, "s"),
            ("a sweep", its.sweep, "s"),
            ("J", its.objective, "points²"),
            ("held-out RMSE", its.rmse, "points"),
            ("memory of data and fit", its.memory, "MiB"),
            ("memory of the fit", its.fit_memory, "MiB"),
        ):
            if value:
                figures.append(Figure(f"{where}, {name}, {what}", value, unit))
    for contender in SAME_EQUATION:
        peer = found.get(contender.name)
        if contender.library == "cofactor" or contender.objective is None or peer is None:
            continue
        for solver in ("auto", "cholesky", "cg"):
            own = found.get(own_name(solver, contender.library))
            if own is None:
                continue
            label = f"{where}, {contender.name} / cofactor {solver}"
            bounds = BOUNDS.get((contender.name, solver), {}) if data.name == ML_1M else {}
            bound = bounds.get(min(bounds, key=lambda known: abs(known - rank), default=None))
            ratio = peer.seconds / own.seconds
            figures.append(Figure(f"{label}, {sweeps} sweeps", ratio, "times", bound, most=False))
            if peer.sweep and own.sweep:
                figures.append(Figure(f"{label}, a sweep", peer.sweep / own.sweep, "times"))
            if own.objective and peer.objective:
                ratio = own.objective / peer.objective
                label = f"{where}, J of cofactor {solver} / J of {contender.name}"
                bound = SAME_J if data.name == ML_1M and bounds else None
                figures.append(Figure(label, ratio, "times", bound))
    return figures


def judge_large(data: Data, rank: int, found: dict[str, Measured]) -> list[Figure]:
    """The bounds on large data: the best peer against ``solver="auto"`` with the equation of that peer."""
    peers = {
        c.name: c.library
        for c in SAME_EQUATION
        if c.name in found and c.objective and own_name("auto", c.library) in found
    }
    figures = []
    for what, told, bound in (
        ("sweep", "seconds of a sweep", LARGE["speed"]),
        ("fit_memory", "memory of the fit", LARGE["memory"]),
        ("memory", "memory of data and fit", None),
    ):
        numbers = {name: getattr(found[name], what) for name in peers if getattr(found[name], what)}
        if not numbers:
            continue
        best = min(numbers, key=numbers.__getitem__)
        own = getattr(found[own_name("auto", peers[best])], what)
        if own:
            label = f"{data.name}, rank {rank}, {told}, cofactor auto / {best}, the best peer"
            figures.append(Figure(label, own / numbers[best], "times", bound))
    return figures


def judge_growth(small: tuple[Data, Measured], large: tuple[Data, Measured]) -> list[Figure]:
    """The time per rating of a sweep on two sets."""
    (less, first), (more, second) = small, large
    if not first.sweep or not second.sweep:
        return []
    ratio = second.sweep / more.n_train / (first.sweep / less.n_train)
    label = f"cofactor auto, time per rating of a sweep, {more.name} / {less.name}"
    return [Figure(label, ratio, "times", LARGE["growth"])]


def target(data: Data, rank: int) -> float | None:
    """The error that is to be reached, if any."""
    return TARGETS.get(rank) if data.name == ML_1M else None


def judge_curves(data: Data, rank: int, found: dict[str, Measured]) -> list[Figure]:
    """The figures of the second part: each point, and the shortest fit that reaches the wanted error."""
    where = f"{data.name}, rank {rank}"
    figures = []
    for name, its in found.items():
        for sweeps, seconds, rmse in its.points:
            figures.append(Figure(f"{where}, {name}, {sweeps} sweeps, seconds", seconds, "s"))
            if rmse:
                figures.append(Figure(f"{where}, {name}, {sweeps} sweeps, held-out RMSE", rmse, "points"))
    wanted, reached = target(data, rank), {}
    for name, its in found.items():
        enough = [seconds for _, seconds, rmse in its.points if wanted and rmse and rmse <= wanted]
        if enough:
            reached[name] = min(enough)
            figures.append(Figure(f"{where}, {name}, seconds to RMSE {wanted}", reached[name], "s"))
    libmf = {name: seconds for name, seconds in reached.items() if name.startswith("LIBMF")}
    own = {name: seconds for name, seconds in reached.items() if name.startswith("cofactor SGD")}
    if libmf and own:
        best, ours = min(libmf, key=libmf.__getitem__), min(own, key=own.__getitem__)
        label = f"{where}, {best} / {ours}, seconds to RMSE {wanted}"
        figures.append(Figure(label, libmf[best] / own[ours], "times", 1.0, most=False))
    return figures


def _number(value: float | None, digits: str) -> str:
    return "–" if value is None else format(value, digits)


def work_table(data: Data, rank: int, sweeps: int, found: dict[str, Measured]) -> str:
    rows = [
        f"### {data.name}, {data.n_train:,} ratings, rank {rank}",
        "",
        f"| | {sweeps} sweeps, s | a sweep, s | J | held-out RMSE | data and fit, MiB | the fit, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, its in found.items():
        rows.append(
            f"| {name} | {its.seconds:.3g} | {_number(its.sweep, '.3g')} | {_number(its.objective, ',.0f')} | "
            f"{_number(its.rmse, '.4f')} | {_number(its.memory, ',.0f')} | {_number(its.fit_memory, ',.0f')} |"
        )
    return "\n".join(rows) + "\n"


def curve_table(data: Data, rank: int, found: dict[str, Measured]) -> str:
    rows = [
        f"### Time against error: {data.name}, rank {rank}",
        "",
        "| | sweeps: seconds, held-out RMSE |",
        "|---|---|",
    ]
    for name, its in found.items():
        points = (
            f"{sweeps}: {seconds:.2f} s, {_number(rmse, '.4f')}" for sweeps, seconds, rmse in its.points
        )
        rows.append(f"| {name} | {'; '.join(points)} |")
    return "\n".join(rows) + "\n"
