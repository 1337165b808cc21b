"""Taste that drifts between ratings and jumps at them: what would this user give this item at this moment?

    r̂_ij(t) = μ + c_j + b_fast(t) + b_slow(t) + p(t)·v_j        (b_fast, b_slow, p)(t) ~ N(m(t), S(t)) for each user

Items come from a model of the same ratings without time. A user is a Gaussian that drifts, and each rating updates it:
``drifting.dynamics`` has the equations. What is learnt is how all users drift, on the latest part of the ratings, with
items that have not seen it; the items are then fitted anew on everything.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadModel, BadParameter, NotSupported
from cofactor.ids import Id, IdMap, Ids, id_array
from cofactor.models.als import ALS
from cofactor.models.base import (
    Callback,
    OwnRatings,
    check_choice,
    check_number,
    check_rank,
    check_ratings,
    check_whole,
)
from cofactor.models.bayes import BayesianMF
from cofactor.models.drifting.dynamics import DRIFTS, SOLVERS, Dynamics, moved, network_shapes, spread
from cofactor.models.drifting.items import Items, of_als, of_bayes
from cofactor.models.drifting.moments import LATEST, seconds, times_of
from cofactor.models.drifting.parameters import dynamics_of, first_parameters, packed, unpacked
from cofactor.models.drifting.sequences import Rules, Sequences, States, first_and_last, follow
from cofactor.models.factor_state import check_array
from cofactor.models.factors import FactorModel, Towards
from cofactor.models.folding import join_users
from cofactor.models.results import Explanation, Part, Recommendations
from cofactor.ratings import Compressed, Ratings

if TYPE_CHECKING:
    from cofactor.figures import Picture

_OPTIONAL = ("network", "user_memory")  # stored where there is a network
_AT_ONCE = 4096  # states held at a time
_FEWEST = 20  # ratings in the window from which something can be learnt
_MISSING = (
    "TasteDrift learns with JAX, diffrax, equinox and optax, which are not all installed. Install them with: "
    "pip install 'cofactor[ode]'. A fitted model needs none of them."
)


@dataclass(frozen=True, eq=False)
class UserDrift:
    """How the taste of one user went, and how sure that is.

    Attributes:
        user: whose.
        times: (moments,) Unix seconds, ascending; of a rating also the second before it.
        mean, std: (moments, rank + 2) of the fast bias, the slow bias and the factors.
        bias, bias_std: (moments,) of both biases together: by how much the user rates above others.
        rated: (ratings,) Unix seconds of the user's ratings, each once.
    """

    user: Id
    times: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    bias: NDArray[np.float64]
    bias_std: NDArray[np.float64]
    rated: NDArray[np.int64]

    def picture(self) -> Picture:
        """The level of the user over time, with its 90 % band and a mark at each rating."""
        from cofactor.figures import Picture, drift

        return Picture.of(drift(self.times, [("level", self.bias, self.bias_std)], self.rated))


@dataclass(eq=False)
class TasteDrift(FactorModel):
    """Matrix factorization whose users change in continuous time. Needs times, and for ``fit`` the extra ``ode``.

    The default drift is linear, with two time scales: on the public sets a network in the equation was not better
    by more than chance (benchmarks/README.md).

    Args:
        rank: K, the number of factors.
        drift: what happens between ratings. "two-scale" has a fast and a slow bias and factors that drift, each at its
            pace; "linear" one bias, and one pace for all; "none" stands still; "neural" is "two-scale" and a network
            in the differential equation; for comparison "gru", a recurrent network of as many numbers in its place,
            "forgetting", where ratings count less and less, and "bins", where the fast bias is another each day.
        items: where the item factors come from: "bayes" (``BayesianMF``) or "als".
        reg, reg_exponent, sweeps: of the ``ALS``, where items="als".
        session: hours; the network is only asked across longer gaps. The linear part drifts within sessions, too.
        window: the latest share of the ratings, on which the drift is learnt, with items fitted on what is before.
        epochs: passes over the window; 0 learns nothing.
        rate: of Adam.
        hidden: width of the network.
        solver, steps: how its equation is solved: "heun" or "euler", in so many steps a gap.
        adjoint: how gradients go through the solver: "checkpoint", or "backsolve", the adjoint equation.
        truncate: ratings through which gradients go back.
        gaps: "shuffled" gives the network gaps drawn at random: a control, of what it gains but not from time.
        seed, threads: as of other models.

    Attributes (once fitted), beside those of ``FactorModel``, whose users are as of ``present_``:
        present_: Unix seconds of the latest rating: the moment of answers where none is given.
        first_times_, last_times_: (users,) Unix seconds of each user's first and last rating.
        dynamics_: rates and the other parameters, see ``drifting.dynamics.Dynamics``.
        objective_: (epochs,) mean negative log-likelihood of the window after each epoch.
    """

    rank: int = 16
    drift: Literal["none", "forgetting", "bins", "linear", "two-scale", "neural", "gru"] = "two-scale"
    items: Literal["bayes", "als"] = "bayes"
    reg: float = 1.0
    reg_exponent: float = 0.5
    sweeps: int = 15
    session: float = 6.0
    window: float = 0.25
    epochs: int = 25
    rate: float = 0.1
    hidden: int = 16
    solver: Literal["heun", "euler"] = "heun"
    steps: int = 4
    adjoint: Literal["checkpoint", "backsolve"] = "checkpoint"
    truncate: int = 128
    gaps: Literal["true", "shuffled"] = "true"
    seed: int = 0
    threads: int | None = None

    _moment: ClassVar[int | None] = (
        None  # of an answer, and the ratings it is asked with: set on a copy, see ``recommend``
    )
    _own: ClassVar[OwnRatings | None] = None

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        check_rank(self.rank, n_items)
        check_choice("drift", self.drift, DRIFTS)
        check_choice("items", self.items, ("bayes", "als"))
        check_number("reg", self.reg)
        check_number("reg_exponent", self.reg_exponent)
        check_number("session", self.session)
        check_number("rate", self.rate)
        if not 0 < check_number("window", self.window) < 1:
            raise BadParameter(f"window is {self.window!r}; give a share of the ratings between 0 and 1.")
        for name, lowest in (("sweeps", 1), ("epochs", 0), ("hidden", 1), ("steps", 1), ("truncate", 1)):
            check_whole(name, getattr(self, name), lowest)
        check_choice("solver", self.solver, SOLVERS)
        check_choice("adjoint", self.adjoint, ("checkpoint", "backsolve"))
        check_choice("gaps", self.gaps, ("true", "shuffled"))
        check_whole("seed", self.seed, 0)
        kernels.thread_count(self.threads)

    @property
    def _rules(self) -> Rules:
        shuffled = self.seed if self.gaps == "shuffled" else None
        return Rules(self.drift, float(self.session), self.solver, self.steps, shuffled)

    # -- learning ------------------------------------------------------------------------------

    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """See ``Model.fit``. Raises ``BadParameter`` for ratings without times, or with times that are no seconds."""
        self.check_parameters(check_ratings(ratings).n_items)
        times_of(ratings, "TasteDrift")
        self._forget()
        try:
            items = self._fit_items(ratings)
            parts = self._parts(ratings) if self.epochs else None
            if parts is None:
                raw = first_parameters(items, self.drift, self.rank, self.hidden, self.seed)
                self._publish(ratings, items, dynamics_of(np, raw, self.drift, self.rank), [])
                if callback is not None:
                    callback(self, 1, float(self.objective_[-1]))
                return self
            early, cut = parts
            known = self._fit_items(early)
            items = items.turned_to(known)
            dynamics, objective = _learning().learn(self, ratings, known, cut, items, callback, progress)
            self._publish(ratings, items, dynamics, objective)
        except BaseException:
            self._forget()
            raise
        return self

    def _parts(self, ratings: Ratings) -> tuple[Ratings, int] | None:
        """The ratings before the window, and its first second; None where it is too small to learn from."""
        times = times_of(ratings, "TasteDrift")
        first = len(times) - max(1, round(self.window * len(times)))
        cut = int(np.partition(times, first)[first])
        early = times < cut  # ratings at that very moment stay together
        enough = min(int(early.sum()), int((~early).sum())) >= _FEWEST
        return (ratings.select(early), cut) if enough else None

    def _fit_items(self, ratings: Ratings) -> Items:
        rank = min(self.rank, ratings.n_items)
        if self.items == "als":
            how = {
                "reg": self.reg,
                "reg_exponent": self.reg_exponent,
                "sweeps": self.sweeps,
                "seed": self.seed,
            }
            found = of_als(ALS(rank=rank, threads=self.threads, **how).fit(ratings, progress=False))  # type: ignore[arg-type]
            return found._replace(factors=np.pad(found.factors, ((0, 0), (0, self.rank - rank))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of draws that have not settled: their mean is used
            model = BayesianMF(rank=rank, implicit=None, seed=self.seed, threads=self.threads)
            model.fit(ratings, progress=False)
        return of_bayes(model, self.rank)

    def _publish(self, ratings: Ratings, items: Items, dynamics: Dynamics, objective: list[float]) -> None:
        """Go along all ratings, and be fitted."""
        times = times_of(ratings, "TasteDrift")
        items = items._replace(  # as they are stored
            factors=items.factors.astype(np.float32).astype(np.float64),
            bias=items.bias.astype(np.float32).astype(np.float64),
        )
        self._items, self.dynamics_ = items, dynamics
        self.ratings_, self.times_, self.scale_ = ratings.by_user, times, ratings.scale
        self.present_ = int(times.max())
        states = States.new(dynamics, ratings.n_users)
        own = ratings.by_user
        sequences = Sequences.of(own.indptr, own.indices, own.values, times)
        told = 0.0
        for step in follow(dynamics, self._rules, items, sequences, states):
            told += float((np.log(step.variance) + step.surprise**2 / step.variance).sum()) / 2
        self._keep(states)
        self.objective_ = np.array(objective or [told / len(ratings)])
        self.mean_ = items.mean
        self.item_factors_ = np.ascontiguousarray(items.factors, np.float32)
        self.item_bias_ = items.bias.astype(np.float32)
        self._show_users()
        self.user_ids_, self.item_ids_ = ratings.user_ids, ratings.item_ids

    def _keep(self, states: States) -> None:
        self._states = states
        self._states.S = states.S.astype(np.float32).astype(np.float64)  # as it is stored

    def _show_users(self) -> None:
        """The attributes of a ``FactorModel`` that are of users, as of the present."""
        m, _ = self._states.at(self.dynamics_, self._rules, np.full(len(self._states.m), self.present_))
        self.user_factors_, self.user_bias_ = _tastes(m)
        self.first_times_, self.last_times_ = self._states.first, self._states.last

    # -- answers for a moment ------------------------------------------------------------------

    def _states_at(
        self, users: NDArray[Any], when: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """m and S of users (−1: unknown) at some moments; before a user's last rating, by the ratings up to then."""
        now = States.new(self.dynamics_, len(users))
        known = np.flatnonzero(users >= 0)
        here = self._states.take(users[known])
        back = np.flatnonzero(when[known] < here.last)
        if len(back):
            rows = users[known][back]
            times = taken(self.ratings_, self.times_, rows)
            past = self._states_of(self.ratings_.take(rows), times, when[known][back])
            _put(here, back, past)
        _put(now, known, here)
        return now.at(self.dynamics_, self._rules, when)

    def _states_of(self, rows: Compressed, times: NDArray[np.int64], when: NDArray[np.int64]) -> States:
        """Of users with these ratings, and their times, by those up to ``when`` (users,)."""
        kept = times <= np.repeat(when, rows.counts)
        ends = np.concatenate([[0], np.cumsum(kept)])[rows.indptr].astype(np.int64)
        sequences = Sequences.of(ends, rows.indices[kept], rows.values[kept], times[kept])
        states = States.new(self.dynamics_, len(rows))
        for _ in follow(self.dynamics_, self._rules, self._items, sequences, states):
            pass
        return states

    def _predict_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[Any]:
        predicted = super()._predict_at(users, items)
        predicted[users < 0] += np.float32(self.dynamics_.mean[:2].sum())
        predicted[items < 0] += np.float32(self._items.new_bias)
        return predicted

    def predict(self, users: Ids, items: Ids, *, clip: bool = False, at: Any = None) -> NDArray[Any]:
        """See ``Model.predict``: what each user would give at the moment ``at``, or at ``present_``.

        ``at`` is one moment for all, or one for each pair: Unix seconds, datetimes, or ISO text. Before a user's last
        rating, only their ratings up to that moment count, though items, and how users drift, are known from all.
        Raises ``BadParameter`` for what is not a moment, such as milliseconds.
        """
        if at is None:
            return super().predict(users, items, clip=clip)
        self._check_fitted()
        user_at, item_at = self.user_ids_.positions(users, "user"), self.item_ids_.positions(items, "item")
        if len(user_at) != len(item_at):
            raise BadParameter(
                f"{len(user_at)} users and {len(item_at)} items: predict takes pairs, so as many of each."
            )
        who, first = np.unique(user_at, return_inverse=True)
        when, second = np.unique(seconds(at, len(user_at)), return_inverse=True)
        pairs, which = np.unique(first.astype(np.int64) * len(when) + second, return_inverse=True)
        moments = np.stack([who[pairs // len(when)], when[pairs % len(when)]])  # each user and moment once
        factors = np.empty((moments.shape[1], self.rank), np.float32)
        bias = np.empty(moments.shape[1], np.float32)
        for begin in range(0, len(bias), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            factors[part], bias[part] = _tastes(self._states_at(*moments[:, part])[0])
        scores = kernels.predict(
            which.astype(np.int32),
            item_at,
            factors,
            bias,
            self.item_factors_,
            self.item_bias_,
            self.mean_,
            threads=self.threads,
        )
        scores[item_at < 0] += np.float32(self._items.new_bias)
        return np.clip(scores, *self.scale_, out=scores) if clip else scores

    def recommend(
        self,
        user: Id | Ids | None = None,
        n: int = 10,
        exclude_seen: bool = True,
        exclude: Ids = (),
        among: Ids | None = None,
        *,
        ratings: OwnRatings | None = None,
        at: Any = None,
    ) -> Recommendations:
        """See ``Model.recommend``: the best items at the moment ``at``, as in ``predict``.

        Somebody's own ``ratings`` count as given at that moment, unless they are ``Ratings`` with times.
        """
        self._check_fitted()
        view = copy.copy(self)
        moment = None if at is None else int(seconds(at, 1)[0])
        view.__dict__.update(_moment=moment, _own=ratings)
        return super(TasteDrift, view).recommend(user, n, exclude_seen, exclude, among, ratings=ratings)

    def _best_items(
        self,
        at: NDArray[np.int32] | None,
        rows: Compressed,
        exclude_seen: bool,
        candidates: NDArray[np.int32] | None,
        excluded: NDArray[np.int32],
        n: int,
    ) -> tuple[NDArray[np.int32], NDArray[Any]]:
        if at is not None and self._moment is None:
            return super()._best_items(at, rows, exclude_seen, candidates, excluded, n)
        when = np.full(len(rows), self.present_ if self._moment is None else self._moment)
        if at is not None:
            m = self._states_at(at, when)[0]
        else:
            times = self._own_times(rows, int(when[0]))
            if self._moment is None:
                when = np.maximum(when, times.max(initial=self.present_))
            m = self._states_of(rows, times, when).at(self.dynamics_, self._rules, when)[0]
        factors, bias = _tastes(m)
        best, scores = self._best(factors, rows if exclude_seen else None, candidates, excluded, n)
        return best, (scores + (self.mean_ + bias)[:, None]).astype(scores.dtype, copy=False)

    def _own_times(self, row: Compressed, now: int) -> NDArray[np.int64]:
        """The times of somebody's own ratings of known items; ``now`` where they have none."""
        if not isinstance(self._own, Ratings) or self._own.times is None:
            return np.full(len(row.indices), now)
        given = times_of(self._own, "recommend")
        last = dict(zip(self.item_ids_.positions(self._own.items, "item").tolist(), given.tolist()))
        return np.array([last[place] for place in row.indices.tolist()], np.int64)

    def walk(self, test: Ratings) -> NDArray[np.float64]:
        """See ``Model.walk``: by the Gaussian update. A rating of an unknown item tells of the user's level."""
        self._check_fitted()
        times = times_of(test, "A walk")
        at = self.user_ids_.positions(test.user_ids.array, "user")
        states = States.new(self.dynamics_, test.n_users)
        _put(states, np.flatnonzero(at >= 0), self._states.take(at[at >= 0]))
        items = self.item_ids_.positions(test.item_ids.array, "item")[test.by_user.indices]
        sequences = Sequences.of(test.by_user.indptr, items, test.values, times)
        bias = np.where(items >= 0, self._items.bias[np.maximum(items, 0)], self._items.new_bias)
        found = bias + self.mean_
        for step in follow(self.dynamics_, self._rules, self._items, sequences, states):
            found[sequences.order[step.ratings]] += step.predicted
        return found

    # -- more users ----------------------------------------------------------------------------

    def solve_users(
        self, rows: Compressed, prior: Towards | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """See ``FactorModel.solve_users``: users who have given these ratings at the present moment."""
        now = np.full(len(rows.indices), self.present_)
        return _tastes(self._states_of(rows, now, np.full(len(rows), self.present_)).m)

    def only_items(
        self, rows: Compressed | None = None, times: NDArray[np.int64] | None = None, now: int | None = None
    ) -> Self:
        """See ``FactorModel.only_items``; without ``times`` the ratings count as given at the present."""
        other = super().only_items()
        if rows is not None:
            other.user_ids_ = IdMap(pa.array(map(str, range(len(rows))), pa.large_string()))
            other.ratings_ = rows
        other.times_ = np.full(len(other.ratings_.indices), self.present_) if times is None else times
        other.present_ = max(self.present_ if now is None else now, int(other.times_.max(initial=-LATEST)))
        when = np.full(len(other.ratings_), other.present_)
        other._keep(other._states_of(other.ratings_, other.times_, when))
        other._show_users()
        return other

    def _order_items(self, places: NDArray[Any]) -> None:
        super()._order_items(places)
        items = self._items
        self._items = items._replace(
            ids=self.item_ids_,
            factors=items.factors[places],
            bias=items.bias[places],
            unsure=items.unsure[places],
        )

    def fold_in(self, ratings: Ratings) -> Self:
        """See ``Model.fold_in``: each user's ratings, old and new, are gone along in the order of time.

        Of two ratings of one item the later one counts. The present moves on to the latest rating. Raises
        ``BadParameter`` for ratings without times.
        """
        self._check_fitted()
        if not isinstance(ratings, Ratings):
            raise BadParameter("fold_in takes Ratings; make them with cofactor.read_ratings(table).")
        times = times_of(ratings, "fold_in")
        joined = join_users(self.user_ids_, self.item_ids_, ratings)
        kept = joined.known
        own = self.ratings_
        merged = Ratings.from_positions(
            joined.user_ids,
            self.item_ids_,
            np.concatenate([joined.old_at[own.row_numbers()], joined.new_at[ratings.user_positions[kept]]]),
            np.concatenate([own.indices, joined.items[kept]]),
            np.concatenate([own.values, ratings.values[kept]]),
            np.concatenate([self.times_, times[kept]]),
        )
        folded = copy.copy(self)
        assert merged.times is not None
        folded.user_ids_, folded.ratings_, folded.times_ = joined.user_ids, merged.by_user, merged.times
        folded.present_ = max(self.present_, int(times[kept].max()))
        states = States.new(self.dynamics_, len(joined.user_ids))
        _put(states, joined.old_at, self._states)
        rows = folded.ratings_.take(joined.new_at)
        when = np.full(len(rows), folded.present_)
        _put(
            states,
            joined.new_at,
            self._states_of(rows, taken(folded.ratings_, folded.times_, joined.new_at), when),
        )
        folded._keep(states)
        folded._show_users()
        return folded

    # -- explanation ---------------------------------------------------------------------------

    def explain(self, user: Id, item: Id, *, at: Any = None) -> Explanation:
        """See ``Model.explain``: each rating adds what it surprised by when it was given, as far as that lasts.

        What nobody's rating adds, the prior and what the network gives, is counted to the user.
        """
        self._check_fitted()
        place = int(self._user_positions(id_array([user], "user"))[0])
        target = self._item_position(item)
        moment = self.present_ if at is None else int(seconds(at, 1)[0])
        h = np.concatenate([[1.0, 1.0], self._items.factors[target]])
        score = float(self.predict([user], [item], at=at)[0])
        rows = self.ratings_.take(np.array([place]))
        times = taken(self.ratings_, self.times_, np.array([place]))
        rated, given, adds = self._jumps(rows, times, moment)
        parts = adds @ h
        order = np.argsort(-np.abs(parts), kind="stable")
        listed = tuple(
            Part(raw, float(given[at_]), float(parts[at_]))
            for raw, at_ in zip(self.item_ids_.ids(rated[order]), order)
        )
        bias = float(self._items.bias[target])
        return Explanation(score, self.mean_, score - self.mean_ - bias - float(parts.sum()), bias, listed)

    def _jumps(
        self, rows: Compressed, times: NDArray[np.int64], moment: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]]:
        """Items and ratings of one user up to a moment, and what of the jump at each is left then (ratings, d)."""
        kept = times <= moment
        rows = Compressed(np.array([0, int(kept.sum())], np.int64), rows.indices[kept], rows.values[kept])
        sequences = Sequences.of(rows.indptr, rows.indices, rows.values, times[kept])
        states = States.new(self.dynamics_, 1)
        left = np.zeros((len(rows.indices), self.rank + 2))
        for k, step in enumerate(follow(self.dynamics_, self._rules, self._items, sequences, states)):
            left[:k] = moved(np, step.transition, left[None, :k])[0]
            left[k] = step.jump[0]
        if len(left):
            gap = self._rules.gap(states.last, np.array([moment]), states.first)
            _, transition = spread(np, self.drift, self.dynamics_, states.S, gap)
            left = moved(np, transition, left[None])[0]
        return sequences.items, sequences.values, left

    def drift_of(self, user: Id, start: Any = None, end: Any = None, points: int = 200) -> UserDrift:
        """How the taste of a user went from one moment to another: before, at, between and after their ratings.

        By default from the first rating to ``present_``. Raises ``UnknownUser``.
        """
        self._check_fitted()
        check_whole("points", points, 2)
        place = int(self._user_positions(id_array([user], "user"))[0])
        rated = np.unique(taken(self.ratings_, self.times_, np.array([place])))
        begin = int(self._states.first[place]) if start is None else int(seconds(start, 1)[0])
        until = self.present_ if end is None else int(seconds(end, 1)[0])
        if until <= begin:
            raise BadParameter(f"end is {until}, not after the start, {begin}. Give a later end.")
        inside = rated[(begin <= rated) & (rated <= until)]
        grid = np.linspace(begin, until, points).astype(np.int64)
        times = np.unique(np.concatenate([grid, inside, inside - 1]))
        m, S = self._states_at(np.full(len(times), place), times)
        std = np.sqrt(np.maximum(np.einsum("nii->ni", S), 0))
        bias_std = np.sqrt(np.maximum(S[:, :2, :2].sum(axis=(1, 2)), 0))
        return UserDrift(user, times, m, std, m[:, :2].sum(axis=1), bias_std, inside)

    # -- storage -------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See ``Model.state``."""
        arrays, facts = super().state()
        arrays |= packed(self.dynamics_) | {
            "ratings_times": self.times_,
            "item_unsure": self._items.unsure,
            "user_mean": self._states.m,
            "user_covariance": self._states.S.astype(np.float32),
            "user_memory": self._states.memory,
        }
        arrays = {name: array for name, array in arrays.items() if name not in _OPTIONAL or array.size}
        facts |= {
            "present": self.present_,
            "new_item_bias": self._items.new_bias,
            "new_item_unsure": self._items.new_unsure,
        }
        return arrays, facts

    def restore(
        self, user_ids: IdMap, item_ids: IdMap, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> Self:
        """See ``Model.restore``."""
        super().restore(user_ids, item_ids, arrays, facts)
        users, items, d = len(user_ids), len(item_ids), self.rank + 2
        arrays = {"network": np.empty(0), "user_memory": np.empty((users, 0)), **arrays}
        whole = f"{users} users, {items} items, rank {self.rank} and drift {self.drift!r}"
        self.times_ = check_array(arrays, "ratings_times", (len(self.ratings_.indices),), "i8", whole)
        check_array(arrays, "item_factors", (items, self.rank), "f4", whole)
        unsure = check_array(arrays, "item_unsure", (items,), "f8", whole)
        shapes = network_shapes(self.drift, d, self.hidden)
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        check_array(arrays, "network", (size,), "f8", whole)
        noise = check_array(arrays, "noise", (2,), "f8", whole)
        for name in ("rates", "diffusion", "prior_variance", "prior_mean"):
            check_array(arrays, name, (d,), "f8", whole)
        m = check_array(arrays, "user_mean", (users, d), "f8", whole)
        S = check_array(arrays, "user_covariance", (users, d, d), "f4", whole)
        q = shapes.get("bu", (0,))[0]
        memory = check_array(arrays, "user_memory", (users, q), "f8", whole)
        lowest = [arrays[name].min(initial=0) for name in ("rates", "diffusion", "prior_variance")]
        spread_ = [unsure.min(initial=0), np.einsum("nii->ni", S).min(initial=0), noise[1], *lowest]
        if min(spread_) < 0 or noise[0] <= 0 or (arrays["prior_variance"][1:] <= 0).any():
            raise BadModel("A variance or a rate of the model is below zero. Fit the model anew.")
        if np.abs(self.times_).max(initial=0) > LATEST:
            raise BadModel("The stored times of ratings are no Unix seconds. Fit the model anew.")
        try:
            self.present_ = int(facts["present"])
            new = float(facts["new_item_bias"]), float(facts["new_item_unsure"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise BadModel("The manifest does not say what drift needs. Save the model again.") from None
        if (
            not np.isfinite(new).all()
            or new[1] < 0
            or abs(self.present_) > LATEST
            or self.present_ < self.times_.max(initial=-LATEST)
        ):
            raise BadModel("The present of the model, or what it says of new items, cannot be. Fit it anew.")
        self.dynamics_ = unpacked(arrays, self.drift, self.rank, self.hidden)
        self._items = Items(
            item_ids,
            self.item_factors_.astype(np.float64),
            self.item_bias_.astype(np.float64),
            unsure,
            *new,
            self.mean_,
            1.0,
            1.0,
            float(noise[0]),
        )
        first, last = first_and_last(self.ratings_.indptr, self.times_)
        fresh = self.ratings_.counts == 0
        self._states = States(m, S.astype(np.float64), memory, first, last, fresh)
        self.first_times_, self.last_times_ = first, last
        return self


def taken(rows: Compressed, column: NDArray[np.int64], which: NDArray[Any]) -> NDArray[np.int64]:
    """The part of a column beside the ratings that goes with ``rows.take(which)``."""
    places = Compressed(rows.indptr, np.arange(len(column), dtype=np.int64), rows.values)  # type: ignore[arg-type]
    return column[places.take(which).indices]


def _tastes(m: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors and bias of means (users, d)."""
    return np.ascontiguousarray(m[:, 2:], np.float32), m[:, :2].sum(axis=1).astype(np.float32)


def _put(into: States, rows: NDArray[Any], part: States) -> None:
    for name in ("m", "S", "memory", "first", "last", "fresh"):
        getattr(into, name)[rows] = getattr(part, name)


def _learning() -> Any:
    """The module that learns; it needs the extra."""
    try:
        from cofactor.models.drifting import learning
    except ModuleNotFoundError as error:
        raise NotSupported(f"{_MISSING} ({error})") from None
    return learning
