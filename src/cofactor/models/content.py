"""Factors from content: what is known of an item beside its ratings says where its factors are likely to be.

    θ_j = [v_j, c_j]        min over θ_j of  Σ_{Ω_j} (r_ij − μ − b_i − θ_j·[u_i, 1])² + λ_j ‖θ_j − m(x_j)‖²

with λ_j as in ``ALS``, or more where content says so much that a few ratings should not go far (``trial.py``).
x_j are the features of the item, m a map that was learnt from items whose factors are known. This is the ridge
regression of ``ALS``, but for what a row is drawn towards: not 0, but what its content says. One rule for all items:
without ratings θ_j is m(x_j), with many it is what the ratings say, and without features m is 0, as in ``ALS``.
Users with features are treated alike.

1. ``ALS`` gives factors. 2. m is fitted to them, each item weighted by its number of ratings: the precision of its
row, Σ_i [u_i, 1][u_i, 1]ᵀ + λ_j I, grows with it. 3. ``refine`` times more, items and users are solved around what
content says, and then m is fitted anew: so factors lie where content can tell of them, as far as ratings let them.

D. Agarwal, B.-C. Chen, "Regression-based Latent Factor Models", KDD 2009, for factors drawn towards a regression;
A. van den Oord, S. Dieleman, B. Schrauwen, "Deep content-based music recommendation", NIPS 2013, for networks.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadModel, BadParameter, NotSupported, SingularSystem, shorten
from cofactor.features import Features
from cofactor.ids import IdMap, Ids
from cofactor.models.als import ALS
from cofactor.models.base import (
    Callback,
    Model,
    check_choice,
    check_number,
    check_rank,
    check_ratings,
    check_whole,
)
from cofactor.models.factors import FactorModel, Towards, solve_around
from cofactor.models.folding import merge_ids, merge_users, replace_rows
from cofactor.models.side import Learner, Side, root_of_mean, scattered, sources
from cofactor.models.solved import SolvedModel
from cofactor.models.trial import tried
from cofactor.ratings import Compressed, Ratings

if TYPE_CHECKING:
    from cofactor.models.network import NetworkLearner

ENCODERS = ("linear", "mlp", "conv1d", "conv2d")
_SHAPES = {
    "linear": (1, 2, 3),
    "mlp": (1, 2, 3),
    "conv1d": (2,),
    "conv2d": (3,),
}  # axes of one row of features
_WANTED = {
    "conv1d": "sounds or other series: arrays (items, samples, channels)",
    "conv2d": "images: arrays (items, height, width, channels)",
}


class _Mapped(SolvedModel):
    """What a fitted ``ContentMap`` has beside a ``SolvedModel``."""

    items_: Side | None = None
    users_: Side | None = None


@dataclass(eq=False)
class ContentMap(_Mapped):
    """Factors of items, and of users, from their content and their ratings: r̂ = μ + b_i + c_j + u_i·v_j.

    Give features to ``fit``: ``ContentMap().fit(ratings, items=catalog.features())``. Items that have features and no
    ratings are then known like any other. Without features it is ``ALS``.

    Args:
        encoder: "linear" is a ridge regression, with as much regularization as leaving one item out asks for. "mlp",
            "conv1d" (sounds) and "conv2d" (images) are networks, and need the extra ``content``. Features of users are
            always mapped by a line.
        rank, reg, reg_exponent, sweeps: of ``ALS``; reg must be above 0.
        refine: how many times more both sides are solved around what content says.
        hold: λ around what content says is at least this, for items and users that have some. None tries out, on items
            held out whole, what is best while first ratings come in, which doubles the time. Much (300, say) makes all
            factors such as content can tell: better for items without any rating, worse for those that have many.
        collective: weight of the features of items, as numbers to be foretold by the same factors, in the objective
            of step 1; 0 leaves them out. See ``models/collective.py``. Needs features of a table.
        width: channels of the first layer of a network; "mlp" has eight times as many hidden numbers.
        epochs: passes over the items for a network at most; it stops early where items held out get worse.
        augment: whether a network sees images shifted, and sounds shifted and louder or softer, each time otherwise.
        seed: of everything that is drawn.
        dtype: "float32" or "float64", of the factors.
        threads: None for all processors.

    Attributes (once fitted), beside those of ``FactorModel``:
        items_, users_: what content says of each, see ``side.Side``; None without features.
        objective_: J of step 1 after each sweep.
    """

    encoder: Literal["linear", "mlp", "conv1d", "conv2d"] = "linear"
    rank: int = 16
    reg: float = 1.0
    reg_exponent: float = 0.5
    sweeps: int = 15
    refine: int = 5
    hold: float | None = None
    collective: float = 0.0
    width: int = 16
    epochs: int = 200
    augment: bool = True
    seed: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    threads: int | None = None

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        check_choice("encoder", self.encoder, ENCODERS)
        check_rank(self.rank, n_items)
        check_number("reg", self.reg)
        if self.reg == 0:
            raise BadParameter("reg is 0, so nothing draws factors towards what content says. Give more.")
        check_number("reg_exponent", self.reg_exponent)
        check_whole("sweeps", self.sweeps, 1)
        check_whole("refine", self.refine, 0)
        if self.hold is not None:
            check_number("hold", self.hold)
            if self.hold > 1e9:
                raise BadParameter(f"hold is {self.hold:g}; give at most 1e9, or None to have it tried out.")
        check_number("collective", self.collective)
        check_whole("width", self.width, 1)
        check_whole("epochs", self.epochs, 1)
        check_choice("augment", self.augment, (True, False))
        check_whole("seed", self.seed, 0)
        check_choice("dtype", self.dtype, ("float32", "float64"))
        kernels.thread_count(self.threads)

    def _forget(self) -> None:
        super()._forget()
        self.items_ = self.users_ = None

    # -- fitting -----------------------------------------------------------------------------------

    def fit(
        self,
        ratings: Ratings,
        *,
        items: Features | None = None,
        users: Features | None = None,
        callback: Callback | None = None,
        progress: bool | None = None,
    ) -> Self:
        """See ``Model.fit``; ``items`` and ``users`` have features of some or all, rated or not.

        ``callback`` is called after each sweep of step 1. Raises ``BadParameter`` where features are of a wrong kind or
        shape for the encoder, or of none of the items that are rated; ``NotSupported`` where a network is asked for and
        the packages for it are missing.
        """
        self.check_parameters(check_ratings(ratings).n_items)
        self._check_features(items, users)
        self._forget()
        try:
            least = tried(self, ratings, items, users, progress)
            self.fit_around(ratings, items, users, least, callback, progress)
        except BaseException:
            self._forget()
            raise
        return self

    def fit_around(
        self,
        ratings: Ratings,
        items: Features | None,
        users: Features | None,
        least: Mapping[str, float],
        callback: Callback | None,
        progress: bool | None,
    ) -> Self:
        """``fit`` without checks, with a λ of ``least`` or more around what content says of an "item" and a "user"."""
        self._take_over(self._base(ratings, items, callback, progress))
        learners = {}
        for what, features in (("item", items), ("user", users)):
            if features is not None:
                at = self._make_room(what, features)
                learners[what] = self._learner(what, features, at, progress)
        for _ in range(self.refine + 1 if learners else 0):
            for what, learner in learners.items():
                metric = root_of_mean(*self._other(what))
                learnt = learner.learn(self._of(what, "factors"), self._of(what, "bias"), metric)
                setattr(self, f"{what}s_", replace(learnt, least=least[what]))
            self._solve("item")
            self._solve("user")
        return self

    def _check_features(self, items: Features | None, users: Features | None) -> None:
        for what, features in (("items", items), ("users", users)):
            if features is not None and not isinstance(features, Features):
                raise BadParameter(
                    f"{what} are Features, not {type(features).__name__}: see Catalog.features."
                )
        if items is not None and items.values.ndim - 1 not in _SHAPES[self.encoder]:
            raise BadParameter(
                f"encoder={self.encoder!r} takes {_WANTED[self.encoder]}; these features are of shape "
                f"{items.values.shape}. Give others, or encoder='linear'."
            )
        if self.encoder != "linear" and items is not None:
            from cofactor.models.network import needed

            needed()
        if self.collective > 0 and (items is None or items.values.ndim != 2):
            raise BadParameter(
                "collective is above 0, but there are no items' features of a table. Give items=."
            )

    def _base(
        self, ratings: Ratings, items: Features | None, callback: Callback | None, progress: bool | None
    ) -> FactorModel:
        """Factors of the items and users that are rated."""

        def tell(model: Model, sweep: int, objective: float) -> object:
            assert isinstance(model, FactorModel)
            self._take_over(model)
            return callback and callback(self, sweep, objective)

        told = None if callback is None else tell
        given: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("rank", "reg", "reg_exponent", "sweeps", "seed", "dtype", "threads")
        }
        if self.collective > 0 and items is not None:
            from cofactor.models.collective import CollectiveALS

            return CollectiveALS(**given, weight=self.collective, features=items).fit(
                ratings, callback=told, progress=progress
            )
        return ALS(**given).fit(ratings, callback=told, progress=progress)

    def _take_over(self, model: FactorModel) -> None:
        self.user_factors_, self.user_bias_ = model.user_factors_, model.user_bias_
        self.item_factors_, self.item_bias_ = model.item_factors_, model.item_bias_
        self.mean_, self.objective_ = model.mean_, model.objective_
        self.ratings_, self.scale_ = model.ratings_, model.scale_
        self.user_ids_, self.item_ids_ = model.user_ids_, model.item_ids_

    def _of(self, what: str, name: str) -> Any:
        """Such an attribute of "item" or "user"."""
        return getattr(self, f"{what}_{name}_")

    def _make_room(self, what: str, features: Features) -> NDArray[np.int32]:
        """For those of a side that have features and no ratings; returns where the features stand."""
        ids, old_at, new_at = merge_ids(self._of(what, "ids"), features.ids, what + "s")
        rows = self.ratings_
        if what == "item":
            self.ratings_ = Compressed(rows.indptr, old_at[rows.indices], rows.values)
        else:
            counts = scattered(rows.counts, old_at, len(ids))
            self.ratings_ = Compressed(np.concatenate([[0], np.cumsum(counts)]), rows.indices, rows.values)
        self._place(what, ids, old_at)
        return new_at

    def _place(self, what: str, ids: IdMap, at: NDArray[np.int32]) -> None:
        """All of a side but ratings, among ``ids``, where those at hand stand ``at``."""
        for name in ("factors", "bias"):
            setattr(self, f"{what}_{name}_", scattered(self._of(what, name), at, len(ids)))
        if what == "item" and hasattr(self, "_sure"):
            self._sure = {**self._sure, "item_counts": scattered(self._sure["item_counts"], at, len(ids))}
        side: Side | None = getattr(self, f"{what}s_")
        setattr(self, f"{what}s_", None if side is None else side.spread(at, len(ids)))
        setattr(self, f"{what}_ids_", ids)

    def _learner(
        self, what: str, features: Features, at: NDArray[np.int32], progress: bool | None
    ) -> Learner | NetworkLearner:
        counts = self._rows(what).counts
        if what == "user" or self.encoder == "linear":
            return Learner(features, at, counts)
        from cofactor.models.network import NetworkLearner

        given = {name: getattr(self, name) for name in ("width", "epochs", "augment", "seed")}
        return NetworkLearner(features, at, counts, kind=self.encoder, progress=progress, **given)

    def _rows(self, what: str) -> Compressed:
        """The ratings by item, or by user."""
        rows = self.ratings_
        if what == "user":
            return rows
        return Compressed(*kernels.transpose(rows.indptr, rows.indices, rows.values, len(self.item_ids_)))

    def _other(self, what: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Factors of the other side, and its numbers of ratings."""
        other = "user" if what == "item" else "item"
        return self._of(other, "factors"), self._rows(other).counts

    def _solve(self, what: str, at: NDArray[np.int32] | None = None) -> None:
        """One side, or those rows of it, around what content says, the other side as it is."""
        every = self._rows(what)
        at = np.arange(len(every), dtype=np.int32) if at is None else at
        rows, side = every.take(at), getattr(self, f"{what}s_")
        other = "user" if what == "item" else "item"
        factors, bias, singular = solve_around(
            rows,
            self._of(other, "factors"),
            self._of(other, "bias"),
            self.row_reg(rows.counts),
            None if side is None else side.towards(at),
            mean=self.mean_,
            threads=self.threads,
        )
        if singular >= 0:
            raise SingularSystem(
                f"The ratings of {what} {shorten(self._of(what, 'ids').id(at[singular]))} do not determine its "
                f"{self.rank} factors: reg={self.reg:g} is lost in rounding. Give a larger reg."
            )
        for name, solved in (("factors", factors), ("bias", bias)):
            changed = self._of(what, name).copy()
            changed[at] = solved
            setattr(self, f"{what}_{name}_", changed)

    # -- where factors come from -----------------------------------------------------------------------

    def source(self, items: Ids) -> list[str]:
        """Where the factors of each item come from: "content", "ratings", "both", or "neither" of an unknown one."""
        self._check_fitted()
        counts = np.bincount(self.ratings_.indices, minlength=len(self.item_ids_))
        return sources(self.item_ids_.positions(items, "item"), counts, self.items_)

    def user_source(self, users: Ids) -> list[str]:
        """``source`` of users."""
        self._check_fitted()
        return sources(self.user_ids_.positions(users, "user"), self.ratings_.counts, self.users_)

    @property
    def filters_(self) -> NDArray[np.float32]:
        """The first layer of a network: (outputs, inputs) of "mlp", (channels, input channels, width) of "conv1d",
        (channels, input channels, height, width) of "conv2d". Raises ``NotSupported`` where there is none."""
        self._check_fitted()
        leaves = self.items_.encoder.arrays() if self.items_ is not None else {}
        if self.encoder == "linear" or "layer_0" not in leaves:
            raise NotSupported("This model has no network. Fit one with encoder='conv2d' and images, say.")
        return leaves["layer_0"]

    # -- new items and users -----------------------------------------------------------------------------

    def add_items(self, features: Features) -> Self:
        """A model that knows the items of ``features`` too, by their content; nothing else changes.

        An item that the model knows gets these features instead of those it had. Raises ``NotSupported`` where the
        model was fitted without features of items, ``BadParameter`` where these are others.
        """
        return self._added("item", features)

    def add_users(self, features: Features) -> Self:
        """A model that knows the users of ``features`` too, by what is known of them. See ``add_items``."""
        return self._added("user", features)

    def _added(self, what: str, features: Features) -> Self:
        self._check_fitted()
        if getattr(self, f"{what}s_") is None:
            raise NotSupported(
                f"This model has learnt nothing from features of {what}s. Give {what}s= to fit()."
            )
        getattr(self, f"{what}s_").check(features)
        other = copy.copy(self)
        at = other._make_room(what, features)
        setattr(other, f"{what}s_", getattr(other, f"{what}s_").with_features(features, at))
        other._solve(what, at)
        return other

    def fold_in(self, ratings: Ratings, *, users: Features | None = None) -> Self:
        """See ``Model.fold_in``; ``users`` has features of some of them, or of others."""
        self._check_fitted()
        if users is not None:
            return self.add_users(users).fold_in(ratings)
        folded = super().fold_in(ratings)
        if folded.users_ is not None:
            at = folded.user_ids_.positions(self.user_ids_.array)
            folded.users_ = folded.users_.spread(at, len(folded.user_ids_))
        return folded

    def fold_in_items(self, ratings: Ratings, *, items: Features | None = None) -> Self:
        """A model that knows the items of ``ratings`` too, exactly, by ratings of users that it knows; users untouched.

        ``items`` has features of some of them, or of others. Of an item that the model knows, the new ratings are added
        to the old ones, replacing those of the same users. Ratings by users that the model does not know are left out,
        with a warning that counts them; it is an error where all are.
        """
        self._check_fitted()
        if items is not None:
            return self.add_items(items).fold_in_items(ratings)
        if not isinstance(ratings, Ratings):
            raise BadParameter("fold_in_items takes Ratings; make them with cofactor.read_ratings(table).")
        turned = replace(
            ratings,
            user_ids=ratings.item_ids,
            item_ids=ratings.user_ids,
            by_user=ratings.by_item,
            by_item=ratings.by_user,
            times=None,
        )
        columns = self._rows("item")
        ids, old_at, new_at, merged = merge_users(
            self.item_ids_, self.user_ids_, columns, turned, turned=True
        )
        columns = replace_rows(columns, old_at, merged, new_at)
        other = copy.copy(self)
        other._place("item", ids, old_at)
        other.ratings_ = Compressed(
            *kernels.transpose(columns.indptr, columns.indices, columns.values, len(self.user_ids_))
        )
        other._solve("item", new_at)
        return other

    def _prior_of_users(self, ids: IdMap) -> Towards | None:
        return None if self.users_ is None else self.users_.towards(self.user_ids_.positions(ids.array))

    def side_regs(
        self, users: NDArray[np.int64], items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``FactorModel.side_regs``."""
        found = []
        for counts, side in ((users, self.users_), (items, self.items_)):
            reg = self.row_reg(counts)
            found.append(reg if side is None else np.maximum(reg, side.least * side.has))
        return found[0], found[1]

    def only_items(
        self, rows: Compressed | None = None, times: NDArray[np.int64] | None = None, now: int | None = None
    ) -> Self:
        """See ``FactorModel.only_items``."""
        other = super().only_items(rows, times, now)
        if other.users_ is not None:
            other.users_ = other.users_.spread(np.zeros(0, np.int32), len(other.user_ids_))
        return other

    def _order_items(self, places: NDArray[Any]) -> None:
        super()._order_items(places)
        if self.items_ is not None:
            self.items_ = self.items_.spread(np.argsort(places).astype(np.int32), len(places))

    # -- storage -------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See ``Model.state``."""
        arrays, facts = super().state()
        for what, side in (("item", self.items_), ("user", self.users_)):
            more, told = ({}, None) if side is None else side.state(what)
            arrays, facts = {**arrays, **more}, {**facts, f"{what}s": told}
        return arrays, facts

    def restore(
        self, user_ids: IdMap, item_ids: IdMap, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> Self:
        """See ``Model.restore``."""
        super().restore(user_ids, item_ids, arrays, facts)
        for what, ids in (("item", item_ids), ("user", user_ids)):
            if f"{what}s" not in facts:
                raise BadModel(f"The manifest does not say what content {what}s have. Save the model again.")
            kind = self.encoder if what == "item" else "linear"
            told, factors = facts[f"{what}s"], self._of(what, "factors")
            side = None if told is None else Side.restored(what, kind, len(ids), factors, arrays, told)
            setattr(self, f"{what}s_", side)
        return self
