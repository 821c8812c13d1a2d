"""Probability distributions over tensors, with the names and shapes of torch.distributions.

A distribution has a batch shape, of independent distributions side by side, and an event shape, of
one draw. `sample(shape)` returns a tensor of shape + batch shape + event shape; `log_prob` and
`entropy` have the batch shape, and are in nats.

`sample` gives constants. `rsample` gives draws as a differentiable function of the parameters, z =
loc + scale * noise, so that gradients flow through them: the reparameterisation trick (Kingma &
Welling 2014 sec. 2.4). Discrete distributions have no such function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import tensor as T
from nn.checks import check_probabilities
from nn.losses import bernoulli_cost
from tensor import Tensor
from tensor.arrays import check_indices

Shape = tuple[int, ...]
Rng = np.random.Generator
LOG_2PI = math.log(2 * math.pi)


class Distribution:
    """What all distributions share."""

    def __init__(self, batch_shape: Shape, event_shape: Shape = ()):
        self.batch_shape, self.event_shape = tuple(batch_shape), tuple(event_shape)

    @property
    def mean(self) -> Tensor:
        """The expectation, batch shape + event shape."""
        raise NotImplementedError(f"{type(self).__name__} has no mean")

    @property
    def variance(self) -> Tensor:
        """The variance of each element, batch shape + event shape."""
        raise NotImplementedError(f"{type(self).__name__} has no variance")

    def rsample(self, shape: Shape = (), generator: Rng | None = None) -> Tensor:
        """Draws through which gradients flow to the parameters."""
        name = type(self).__name__
        raise NotImplementedError(
            f"{name} is discrete: it has sample() and log_prob(), but no rsample()"
        )

    def sample(self, shape: Shape = (), generator: Rng | None = None) -> Tensor:
        """Draws as constants, by a seeded `generator`, or else by that of `tensor.manual_seed`."""
        with T.no_grad():
            return self.rsample(shape, generator)

    def log_prob(self, value) -> Tensor:
        """The log of the density, or of the probability, at `value`, of shape (..., *batch_shape,
        *event_shape), in nats: (..., *batch_shape)."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """E[-log p(x)] in nats, (*batch_shape,)."""
        raise NotImplementedError


class Normal(Distribution):
    """N(loc, scale^2), element by element: the event is a scalar.

    `Independent(Normal(loc, scale), 1)` draws vectors. Raises ValueError unless scale > 0.
    """

    def __init__(self, loc, scale):
        loc, scale = _floats("Normal: loc", loc), _floats("Normal: scale", scale)
        _check_positive("Normal: scale", scale)
        shape = _common_shape("Normal", loc.shape, scale.shape)
        self.loc, self.scale = T.expand(loc, shape), T.expand(scale, shape)
        super().__init__(shape)

    @property
    def mean(self) -> Tensor:
        """loc"""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """scale^2"""
        return T.square(self.scale)

    def rsample(self, shape: Shape = (), generator: Rng | None = None) -> Tensor:
        """loc + scale * noise"""
        return self.loc + self.scale * _noise(self.loc, shape, generator)

    def log_prob(self, value) -> Tensor:
        """-1/2 ((x - loc) / scale)^2 - log scale - 1/2 log 2 pi"""
        return -0.5 * T.square((value - self.loc) / self.scale) - T.log(self.scale) - 0.5 * LOG_2PI

    def entropy(self) -> Tensor:
        """log scale + 1/2 log(2 pi e)"""
        return T.log(self.scale) + 0.5 * (LOG_2PI + 1)


class MultivariateNormal(Distribution):
    """N(loc, L L^T) over vectors: loc (..., d), scale_tril = L (..., d, d).

    Raises ValueError unless L is lower triangular with a positive diagonal.
    """

    def __init__(self, loc, scale_tril):
        loc = _floats("MultivariateNormal: loc", loc)
        scale_tril = _floats("MultivariateNormal: scale_tril", scale_tril)
        d = loc.shape[-1] if loc.shape else 0
        if not d or tuple(scale_tril.shape[-2:]) != (d, d):
            expected = "expected loc (..., d) and scale_tril (..., d, d)"
            got = f"got {tuple(loc.shape)} and {tuple(scale_tril.shape)}"
            raise ValueError(f"MultivariateNormal: {expected}, {got}")
        _check_positive("MultivariateNormal: the diagonal of scale_tril", _diagonal(scale_tril))
        if np.triu(scale_tril.numpy(), 1).any():
            raise ValueError("MultivariateNormal: scale_tril must be lower triangular")
        batch = _common_shape("MultivariateNormal", loc.shape[:-1], scale_tril.shape[:-2])
        lower = scale_tril * np.tri(d, dtype=scale_tril.dtype)  # zeros get no gradient
        self.loc, self.scale_tril = T.expand(loc, (*batch, d)), T.expand(lower, (*batch, d, d))
        super().__init__(batch, (d,))

    @property
    def mean(self) -> Tensor:
        """loc"""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The diagonal of L L^T"""
        return T.sum(T.square(self.scale_tril), -1)

    @property
    def covariance_matrix(self) -> Tensor:
        """L L^T"""
        return self.scale_tril @ T.transpose(self.scale_tril, -1, -2)

    def rsample(self, shape: Shape = (), generator: Rng | None = None) -> Tensor:
        """loc + L noise"""
        noise = _noise(self.loc, shape, generator)
        return self.loc + (self.scale_tril @ noise[..., None])[..., 0]

    def log_prob(self, value) -> Tensor:
        """-1/2 |L^-1 (x - loc)|^2 - log det L - d/2 log 2 pi"""
        _check_event(self, value)
        distance2 = _distance2(self.scale_tril, value - self.loc)
        return -0.5 * distance2 - _log_det(self.scale_tril) - 0.5 * self.event_shape[0] * LOG_2PI

    def entropy(self) -> Tensor:
        """log det L + d/2 log(2 pi e)"""
        return _log_det(self.scale_tril) + 0.5 * self.event_shape[0] * (LOG_2PI + 1)


class Bernoulli(Distribution):
    """1 with probability sigmoid(logits), else 0, element by element."""

    def __init__(self, logits):
        self.logits = _floats("Bernoulli: logits", logits)
        super().__init__(self.logits.shape)

    @property
    def mean(self) -> Tensor:
        """p, the probability of 1"""
        return T.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        """p (1 - p)"""
        return T.sigmoid(self.logits) * T.sigmoid(-self.logits)

    def sample(self, shape: Shape = (), generator: Rng | None = None) -> Tensor:
        """Zeros and ones, of the dtype of the logits."""
        sizes, device = (*shape, *self.batch_shape), self.logits.device
        uniform = T.rand(*sizes, generator=generator, dtype=np.float64, device=device)
        return (uniform < self.mean).to(self.logits.dtype)

    def log_prob(self, value) -> Tensor:
        """x log p + (1 - x) log(1 - p), exact for any logit. For grey x: minus a cross-entropy."""
        check_probabilities("Bernoulli.log_prob: value", value)
        return -bernoulli_cost(self.logits, value)

    def entropy(self) -> Tensor:
        """-p log p - (1 - p) log(1 - p)"""
        (p1, cost1), (p0, cost0) = self._outcomes()
        return p1 * _if_possible(p1, cost1) + p0 * _if_possible(p0, cost0)

    def _outcomes(self) -> list[tuple[Tensor, Tensor]]:
        """The probabilities of 1 and 0, each with minus its logarithm: small ones do not cancel."""
        return [(T.sigmoid(x), T.softplus(-x)) for x in (self.logits, -self.logits)]


class Categorical(Distribution):
    """The classes 0..K-1 with probabilities softmax(logits), for logits (..., K).

    Classes have no mean or variance.
    """

    def __init__(self, logits):
        logits = _floats("Categorical: logits", logits)
        if not logits.shape or not logits.shape[-1]:
            raise ValueError(f"Categorical: expected logits (..., K), got {tuple(logits.shape)}")
        self.logits = T.log_softmax(logits, -1)
        super().__init__(logits.shape[:-1])

    @property
    def probs(self) -> Tensor:
        """p (..., K), which sums to 1"""
        return T.exp(self.logits)

    def sample(self, shape: Shape = (), generator: Rng | None = None) -> Tensor:
        """Integers. Of K clocks that ring at rates p_k, clock k is first with probability p_k."""
        waits = (generator or T.default_generator()).exponential(size=(*shape, *self.logits.shape))
        return T.argmax(self.logits - T.log(Tensor(waits, device=self.logits.device)), -1)

    def log_prob(self, value) -> Tensor:
        """log p_k for integers k; IndexError outside 0..K-1."""
        classes = value if isinstance(value, Tensor) else Tensor(value)
        if classes.dtype.kind not in "iu":
            raise TypeError(f"Categorical.log_prob: classes are integers, got {classes.dtype}")
        K = self.logits.shape[-1]
        check_indices(classes.data, K, "Categorical.log_prob", "class", from_the_end=False)
        chosen = classes[..., None] == np.arange(K)
        return T.sum(T.where(chosen, self.logits, 0.0), -1)

    def entropy(self) -> Tensor:
        """-sum over k of p_k log p_k"""
        return -T.sum(self.probs * _if_possible(self.probs, self.logits), -1)


class Independent(Distribution):
    """`base` with its last `ndims` batch dimensions as one event: log-probabilities add up."""

    def __init__(self, base: Distribution, ndims: int):
        if not 0 <= ndims <= len(base.batch_shape):
            batch_shape = f"the batch shape {base.batch_shape}"
            raise ValueError(f"Independent: cannot take {ndims} dimensions of {batch_shape}")
        self.base, self.ndims = base, ndims
        split = len(base.batch_shape) - ndims
        super().__init__(base.batch_shape[:split], base.batch_shape[split:] + base.event_shape)

    @property
    def mean(self) -> Tensor:
        """That of `base`."""
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        """That of `base`."""
        return self.base.variance

    def rsample(self, shape: Shape = (), generator: Rng | None = None) -> Tensor:
        """Draws of `base`."""
        return self.base.rsample(shape, generator)

    def sample(self, shape: Shape = (), generator: Rng | None = None) -> Tensor:
        """Draws of `base`."""
        return self.base.sample(shape, generator)

    def log_prob(self, value) -> Tensor:
        """Summed over the event."""
        _check_event(self, value)
        return _sum_last(self.base.log_prob(value), self.ndims)

    def entropy(self) -> Tensor:
        """Summed over the event."""
        return _sum_last(self.base.entropy(), self.ndims)


# KL(p || q) = E over p of log p(x) - log q(x), in nats


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q) in closed form, in nats, with the batch shape.

    Raises NotImplementedError where there is none (see `kl_monte_carlo`), ValueError for events of
    different shapes.
    """
    form = _CLOSED_FORMS.get((type(p), type(q)))
    if form is None:
        pair = f"{type(p).__name__} || {type(q).__name__}"
        cause = f"no closed form for {pair}; kl_monte_carlo estimates it"
        raise NotImplementedError(f"kl_divergence: {cause}")
    if p.event_shape != q.event_shape:
        shapes = f"{p.event_shape} and {q.event_shape}"
        raise ValueError(f"kl_divergence: events of shapes {shapes} differ")
    _common_shape("kl_divergence", p.batch_shape, q.batch_shape)
    return form(p, q)


class Estimate(NamedTuple):
    """A Monte Carlo mean and its standard error, both with the batch shape."""

    value: Tensor
    standard_error: Tensor


def kl_monte_carlo(
    p: Distribution, q: Distribution, samples: int = 1000, generator: Rng | None = None
) -> Estimate:
    """KL(p || q) in nats, estimated from draws of p, through which no gradients flow.

    Raises ValueError for fewer than 2 samples.
    """
    if samples < 2:
        rule = "a standard error needs at least 2 samples"
        raise ValueError(f"kl_monte_carlo: {rule}, got {samples}")
    shared = (1,) * (len(q.batch_shape) - len(p.batch_shape))  # dimensions of q with the same draws
    x = p.sample((samples, *shared), generator)
    differences = p.log_prob(x) - q.log_prob(x)
    return Estimate(T.mean(differences, 0), T.sqrt(T.var(differences, 0) / samples))


def _kl_normal(p: Normal, q: Normal) -> Tensor:
    """1/2 (r^2 + ((loc_p - loc_q) / scale_q)^2 - 1 - log r^2), where r = scale_p / scale_q"""
    ratio2 = T.square(p.scale / q.scale)
    return 0.5 * (ratio2 + T.square((p.loc - q.loc) / q.scale) - 1 - T.log(ratio2))


def _kl_multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    """1/2 (|L_q^-1 L_p|^2 + |L_q^-1 (loc_p - loc_q)|^2 - d) + log det L_q - log det L_p"""
    ratio = _solve(q.scale_tril, p.scale_tril)
    distance2 = _distance2(q.scale_tril, p.loc - q.loc)
    squares = T.sum(T.square(ratio), (-1, -2)) + distance2 - p.event_shape[0]
    return 0.5 * squares + _log_det(q.scale_tril) - _log_det(p.scale_tril)


def _kl_bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    """p (log p - log q) + (1 - p) (log(1 - p) - log(1 - q))"""
    ((p1, cost1), (p0, cost0)), ((_, other1), (_, other0)) = p._outcomes(), q._outcomes()
    by_one = p1 * (_if_possible(p1, other1) - _if_possible(p1, cost1))
    return by_one + p0 * (_if_possible(p0, other0) - _if_possible(p0, cost0))


def _kl_categorical(p: Categorical, q: Categorical) -> Tensor:
    """sum over k of p_k (log p_k - log q_k)"""
    K_p, K_q = p.logits.shape[-1], q.logits.shape[-1]
    if K_p != K_q:
        raise ValueError(f"kl_divergence: {K_p} classes and {K_q} classes")
    return T.sum(p.probs * (_if_possible(p.probs, p.logits) - _if_possible(p.probs, q.logits)), -1)


def _kl_independent(p: Independent, q: Independent) -> Tensor:
    """Summed over the event: the KL of independent dimensions adds up."""
    if p.ndims != q.ndims:
        raise ValueError(f"kl_divergence: events of {p.ndims} and {q.ndims} independent dimensions")
    return _sum_last(kl_divergence(p.base, q.base), p.ndims)


def _full(p: Distribution) -> MultivariateNormal:
    """A diagonal normal over vectors, as one with a full covariance."""
    if isinstance(p, MultivariateNormal):
        return p
    if not (isinstance(p, Independent) and isinstance(p.base, Normal) and p.ndims == 1):
        rule = "a MultivariateNormal compares with its like and with Independent(Normal, 1)"
        raise NotImplementedError(f"kl_divergence: {rule}")
    scale = p.base.scale
    identity = np.eye(scale.shape[-1], dtype=scale.dtype)
    return MultivariateNormal(p.base.loc, scale[..., None] * identity)


_CLOSED_FORMS: dict[tuple[type, type], Callable] = {
    (Normal, Normal): _kl_normal,
    (MultivariateNormal, MultivariateNormal): _kl_multivariate_normal,
    (Bernoulli, Bernoulli): _kl_bernoulli,
    (Categorical, Categorical): _kl_categorical,
    (Independent, Independent): _kl_independent,
    (Independent, MultivariateNormal): lambda p, q: _kl_multivariate_normal(_full(p), q),
    (MultivariateNormal, Independent): lambda p, q: _kl_multivariate_normal(p, _full(q)),
}


# What they are made of


def _floats(name: str, x) -> Tensor:
    """A parameter as a tensor."""
    if not hasattr(x, "dtype") or x.dtype.kind != "f":
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{name} must be a tensor of floats, got {got}")
    return x if isinstance(x, Tensor) else Tensor(x)


def _check_event(distribution: Distribution, value) -> None:
    """ValueError unless `value` ends in the event shape: an event is never broadcast."""
    shape, event = tuple(np.shape(value)), distribution.event_shape
    if shape[len(shape) - len(event) :] != event:
        name, sizes = type(distribution).__name__, ", ".join(map(str, ("...", *event)))
        raise ValueError(f"{name}.log_prob: expected a value of shape ({sizes}), got {shape}")


def _common_shape(name: str, *shapes: Shape) -> Shape:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        both = " and ".join(map(str, shapes))
        raise ValueError(f"{name}: the parameters' shapes {both} do not broadcast") from None


def _check_positive(name: str, x) -> None:
    if not (x > 0).numpy().all():
        raise ValueError(f"{name} must be positive everywhere")


def _if_possible(p: Tensor, x: Tensor) -> Tensor:
    """x where p > 0, else 0: an impossible outcome adds nothing to an expectation, 0 log 0 = 0, nor
    to its gradients."""
    return T.where(p > 0, x, 0.0)


def _noise(like: Tensor, shape: Shape, generator: Rng | None) -> Tensor:
    """Standard normal numbers: `shape` times a tensor like `like`."""
    return T.randn(*shape, *like.shape, generator=generator, dtype=like.dtype, device=like.device)


def _sum_last(x: Tensor, ndims: int) -> Tensor:
    return T.sum(x, tuple(range(-ndims, 0))) if ndims else x


def _diagonal(matrix) -> Tensor:
    k = np.arange(matrix.shape[-1])
    return matrix[..., k, k]


def _log_det(tril) -> Tensor:
    return T.sum(T.log(_diagonal(tril)), -1)


def _distance2(tril, x) -> Tensor:
    """|L^-1 x|^2"""
    return T.sum(T.square(_solve(tril, x[..., None])), (-1, -2))


def _solve(A, B) -> Tensor:
    """A^-1 B for matrices; with fewer dimensions than A, B might be taken for vectors."""
    return T.solve(A, B.reshape(*(1,) * (A.ndim - B.ndim), *B.shape))
