"""Networks from images, sounds or tables to factors: what ``ContentMap`` uses beside a straight line.

    min Σ_j w_j ‖(f(x_j) − θ_j) L‖²        w_j: ratings of item j,  L: an error of factors is told by that of ratings

"conv2d" slides 3 × 3 filters over an image and "conv1d" filters of 9 samples over a sound, each as one and the same
convolution everywhere; after each layer only the largest of neighbouring answers is kept, and in the end a line leads
to the factors. "mlp" has one hidden layer and no idea which numbers are neighbours.

Training takes Adam on all items but a tenth, and ends where those held out get worse. It needs JAX, Equinox and Optax;
a model that was saved predicts without them, and needs them only for features of new items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadModel, NotSupported
from cofactor.features import Features
from cofactor.models.factor_state import check_array
from cofactor.models.side import Side
from cofactor.progress import Progress

_RATE, _DECAY = 2e-3, 1e-3  # of Adam
_BATCH = 64
_HELD_OUT = 0.1  # of the items
_FEWEST = 50  # items from which some are held out; of fewer, all are learnt from for a quarter of the epochs
_PATIENCE = 30  # epochs without a better one
_SHIFT = 8  # images move by an eighth of their side, sounds of their length
_LOUDER = 0.2  # sounds get louder or softer by that share
_KERNEL = {"conv1d": 9, "conv2d": 3}
_POOL = {"conv1d": 4, "conv2d": 2}
_AT_ONCE = 1024  # rows that go through a network at a time
_MOST_LAYERS = 64


def needed() -> None:
    """``NotSupported`` unless the packages are there."""
    try:
        import equinox
        import jax
        import optax
    except ImportError:
        raise NotSupported(
            'Networks need JAX, Equinox and Optax. Install them: pip install "cofactor[content]", or take '
            'encoder="linear".'
        ) from None
    del equinox, jax, optax


def build(kind: str, shape: tuple[int, ...], outputs: int, width: int, seed: int) -> Any:
    """A network for one row of features of this shape, with random weights: an ``equinox.nn.Sequential``."""
    import equinox as eqx
    import jax

    keys = iter(jax.random.split(jax.random.key(seed), 16))
    relu = eqx.nn.Lambda(jax.nn.relu)
    if kind == "mlp":
        hidden = 8 * width
        return eqx.nn.Sequential(
            [
                eqx.nn.Lambda(jax.numpy.ravel),
                eqx.nn.Linear(prod(shape), hidden, key=next(keys)),
                relu,
                eqx.nn.Linear(hidden, outputs, key=next(keys)),
            ]
        )
    flat = kind == "conv1d"
    convolution = eqx.nn.Conv1d if flat else eqx.nn.Conv2d
    size, step, kernel = shape[:-1], _POOL[kind], _KERNEL[kind]
    layers: list[Any] = [eqx.nn.Lambda(partial(jax.numpy.moveaxis, source=-1, destination=0))]
    channels, stage = shape[-1], 0
    while stage == 0 or (stage < 4 and min(size) >= 2 * step):
        wider = width * min(2**stage, 4)
        layers += [convolution(channels, wider, kernel, padding=kernel // 2, key=next(keys)), relu]
        if min(size) >= step:
            layers.append(eqx.nn.Lambda(partial(_largest, step=step)))
            size = tuple(side // step for side in size)
        channels, stage = wider, stage + 1
    if flat:  # where in a sound something is does not matter
        layers.append(eqx.nn.Lambda(partial(jax.numpy.mean, axis=-1)))
        size = (1,)
    elif max(size) > 4:
        size = tuple(min(side, 4) for side in size)
        layers.append(eqx.nn.AdaptiveAvgPool2d(size))
    layers += [eqx.nn.Lambda(jax.numpy.ravel), eqx.nn.Linear(channels * prod(size), outputs, key=next(keys))]
    return eqx.nn.Sequential(layers)


def _largest(x: Any, step: int) -> Any:
    """Of ``step`` neighbours along each axis but the first; what is left over at the end is dropped."""
    import jax

    for axis in range(1, x.ndim):
        kept = jax.lax.slice_in_dim(x, 0, x.shape[axis] // step * step, axis=axis)
        x = kept.reshape(*x.shape[:axis], -1, step, *x.shape[axis + 1 :]).max(axis=axis + 1)
    return x


def weights_of(network: Any) -> list[NDArray[np.float32]]:
    """Its arrays, from the first layer to the last, weights before biases."""
    import equinox as eqx
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))]


@dataclass(frozen=True, eq=False)
class NetworkMap:
    """θ(x) = middle + f((x − mean) / spread) · out.

    Attributes:
        kind, shape, width: what f was built of.
        layers: its weights.
        inputs: mean and spread of all features (2,); middle: (outputs,); out: (outputs, outputs); float64.
    """

    kind: str
    shape: tuple[int, ...]
    width: int
    layers: tuple[NDArray[np.float32], ...]
    inputs: NDArray[np.float64]
    middle: NDArray[np.float64]
    out: NDArray[np.float64]

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Factors and bias (rows, outputs) of features (rows, …)."""
        needed()
        import equinox as eqx
        import jax

        network = build(self.kind, self.shape, len(self.middle), self.width, 0)
        if [layer.shape for layer in weights_of(network)] != [layer.shape for layer in self.layers]:
            raise BadModel(
                f"The layers of this network are not those of a {self.kind}. Save the model again."
            )
        arrays, rest = eqx.partition(network, eqx.is_inexact_array)
        arrays = jax.tree.unflatten(jax.tree.structure(arrays), [jax.numpy.asarray(a) for a in self.layers])
        answer = _through(eqx.combine(arrays, rest), (values - self.inputs[0]) / self.inputs[1])
        return np.asarray(self.middle + answer.astype(np.float64) @ self.out)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For storage."""
        layers = {f"layer_{k}": layer for k, layer in enumerate(self.layers)}
        return {**layers, "inputs": self.inputs, "middle": self.middle, "out": self.out}

    def facts(self) -> dict[str, Any]:
        """What else storage keeps."""
        return {"width": self.width, "layers": [list(layer.shape) for layer in self.layers]}

    @classmethod
    def restored(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        prefix: str,
        shape: tuple[int, ...],
        outputs: int,
        kind: str,
        facts: Mapping[str, Any],
        whole: str,
    ) -> Self:
        """Of stored arrays. Raises ``BadModel``."""
        width, layers = facts.get("width"), facts.get("layers")
        sound = type(width) is int and 1 <= width <= 1 << 16 and isinstance(layers, list)
        sound = sound and 0 < len(layers) <= _MOST_LAYERS  # type: ignore[arg-type]  # a list, or not sound
        if not sound or not all(_is_shape(layer) for layer in layers or ()):
            raise BadModel(
                "The manifest does not say what the layers of the network are. Save the model again."
            )
        found = tuple(
            check_array(arrays, f"{prefix}layer_{k}", tuple(layer), "f4", whole)
            for k, layer in enumerate(layers or ())
        )
        inputs = check_array(arrays, f"{prefix}inputs", (2,), "f8", whole)
        if not inputs[1] > 0:
            raise BadModel(
                f"The array '{prefix}inputs' says that features have no spread. Fit the model anew."
            )
        middle = check_array(arrays, f"{prefix}middle", (outputs,), "f8", whole)
        out = check_array(arrays, f"{prefix}out", (outputs, outputs), "f8", whole)
        assert isinstance(width, int)
        return cls(kind, shape, width, found, inputs, middle, out)


def _is_shape(given: Any) -> bool:
    return (
        isinstance(given, list)
        and 0 < len(given) <= 4
        and all(type(n) is int and 0 < n < 1 << 31 for n in given)
    )


@cache  # compiled once for each shape
def _together() -> Any:
    import equinox as eqx
    import jax

    return eqx.filter_jit(lambda network, x: jax.vmap(network)(x))


def _through(network: Any, values: NDArray[Any]) -> NDArray[np.float32]:
    """Answers (rows, outputs), some rows at a time."""
    rows = np.asarray(values, np.float32)
    parts = [np.asarray(_together()(network, rows[k : k + _AT_ONCE])) for k in range(0, len(rows), _AT_ONCE)]
    return np.concatenate(parts)


class NetworkLearner:
    """Trains a network to the factors of the rows that have features and ratings: once, the first time it is asked.

    Args:
        features: of rows ``at`` of the side.
        counts: (rows,) ratings of each row, the weight of its factors.
        kind, width, epochs, augment, seed: of ``ContentMap``.
    """

    def __init__(
        self,
        features: Features,
        at: NDArray[np.int32],
        counts: NDArray[np.int64],
        *,
        kind: str,
        width: int,
        epochs: int,
        augment: bool,
        seed: int,
        progress: bool | None,
    ) -> None:
        self.features, self.at, self.counts = features, at, counts
        self.kind, self.width, self.epochs, self.augment = kind, width, epochs, augment
        self.seed, self.progress = seed, progress
        self.learnt: Side | None = None

    def learn(self, factors: NDArray[Any], bias: NDArray[Any], metric: NDArray[Any]) -> Side:
        """What content says once the factors (rows, rank) and biases (rows,) are these."""
        if self.learnt is None:
            rated = self.counts[self.at] > 0
            at = self.at[rated]
            targets = np.column_stack([factors, bias])[at].astype(np.float64)
            learnt = train(
                self.features.values[rated], targets, self.counts[at].astype(np.float64), metric,
                kind=self.kind, width=self.width, epochs=self.epochs, augment=self.augment, seed=self.seed,
                progress=self.progress,
            )  # fmt: skip
            self.learnt = Side.of(learnt, self.features, self.at, len(self.counts), factors.dtype)
        return self.learnt


def train(
    values: NDArray[np.float32],
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
    metric: NDArray[np.float64],
    *,
    kind: str,
    width: int,
    epochs: int,
    augment: bool,
    seed: int,
    progress: bool | None = None,
) -> NetworkMap:
    """A network from features (rows, …) to targets (rows, outputs), each row with a weight; see the module."""
    needed()
    import equinox as eqx
    import optax

    share = weights / weights.sum()
    middle = share @ targets
    wanted = (targets - middle) @ metric
    unit = float(np.sqrt(share @ (wanted**2).sum(axis=1))) or 1.0
    mean, spread = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)) or 1.0
    x, y = ((values - mean) / spread).astype(np.float32), (wanted / unit).astype(np.float32)
    w = (weights / weights.mean()).astype(np.float32)
    random = np.random.default_rng([seed, 4])
    order = random.permutation(len(x))
    held = order[: round(_HELD_OUT * len(x))] if len(x) >= _FEWEST else order[:0]
    rest = order[len(held) :]
    epochs = epochs if len(held) else -(-epochs // 4)
    network = build(kind, values.shape[1:], targets.shape[1], width, seed)
    batch = min(_BATCH, len(rest))
    rates = optax.cosine_decay_schedule(_RATE, epochs * (len(rest) // batch))
    optimizer = optax.adamw(rates, weight_decay=_DECAY)
    state = optimizer.init(eqx.filter(network, eqx.is_inexact_array))
    step = _step(optimizer, _changes(values.ndim - 1) if augment else None)
    best, best_error, since = network, np.inf, 0
    with Progress(epochs, "Learning content", progress) as bar:
        for epoch in range(epochs):
            for k, some in enumerate(
                random.permutation(rest)[: len(rest) // batch * batch].reshape(-1, batch)
            ):
                network, state, loss = step(network, state, x[some], y[some], w[some], (seed, epoch, k))
            if not len(held):
                best = network
                bar.advance(f"error {float(loss):.4f}")
                continue
            error = float(w[held] @ ((_through(network, x[held]) - y[held]) ** 2).sum(axis=1))
            since += 1
            if error < best_error:
                best, best_error, since = network, error, 0
            bar.advance(f"held out {error / float(w[held].sum()):.4f}")
            if since >= _PATIENCE:
                break
    out = np.asarray(unit * np.linalg.inv(metric), np.float64)
    return NetworkMap(
        kind, values.shape[1:], width, tuple(weights_of(best)), np.array([mean, spread]), middle, out
    )


def _step(optimizer: Any, change: Callable[[Any, Any], Any] | None) -> Callable[..., Any]:
    """One batch, compiled. A loop over batches is not: XLA is slow at convolutions inside loops."""
    import equinox as eqx
    import jax

    def loss_of(network: Any, x: Any, y: Any, w: Any) -> Any:
        return jax.numpy.mean(w * ((jax.vmap(network)(x) - y) ** 2).sum(axis=1))

    @eqx.filter_jit  # type: ignore[untyped-decorator]
    def run(network: Any, state: Any, x: Any, y: Any, w: Any, draw: Any) -> Any:
        if change is not None:
            key = jax.random.key(0)
            for number in draw:
                key = jax.random.fold_in(key, number)
            x = jax.vmap(change)(x, jax.random.split(key, len(x)))
        loss, slope = eqx.filter_value_and_grad(loss_of)(network, x, y, w)
        updates, state = optimizer.update(slope, state, eqx.filter(network, eqx.is_inexact_array))
        return eqx.apply_updates(network, updates), state, loss

    def traced(network: Any, state: Any, x: Any, y: Any, w: Any, draw: tuple[int, ...]) -> Any:
        return run(network, state, x, y, w, np.array(draw, np.uint32))  # numbers would be compiled in

    return traced


def _changes(axes: int) -> Callable[[Any, Any], Any] | None:
    """What may be changed in one row of features such that it stays what it is; None of a table."""
    import jax

    if axes == 1:
        return None

    def change(x: Any, key: Any) -> Any:
        place, loud = jax.random.split(key)
        reach = [max(1, side // _SHIFT) for side in x.shape[:-1]]
        wide = jax.numpy.pad(x, [(r, r) for r in reach] + [(0, 0)], mode="edge")
        begin = [
            jax.random.randint(k, (), 0, 2 * r + 1)
            for k, r in zip(jax.random.split(place, len(reach)), reach)
        ]
        moved = jax.lax.dynamic_slice(wide, [*begin, 0], x.shape)
        return moved if axes == 3 else moved * (1 + _LOUDER * jax.random.uniform(loud, minval=-1.0))

    return change
