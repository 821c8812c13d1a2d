"""Probability distributions over tensors, with the names and shapes of torch.distributions.

A distribution has a batch shape, of independent distributions side by side, and an event shape, of
one draw. `sample(sample_shape)` returns a tensor of sample shape + batch shape + event shape;
`log_prob` and `entropy` have the batch shape, and are in nats.

Parameters are numbers, arrays or tensors of floats. Numbers beside a tensor take its dtype, others
become float32; what is no tensor comes to the device of those that are, and so do the values of
`log_prob`. RuntimeError for tensors on several devices. Probabilities are not clamped: small ones
keep their digits, in values and gradients, and the log of 0 is -inf. But 0 log 0 = 0, and has no
gradient.

A check of values on a GPU waits for it. Where it is known that they are right, validate_args=False
leaves the check out, as in PyTorch.

`sample` gives constants. `rsample` gives draws as a differentiable function of the parameters, z =
loc + scale * noise, so that gradients flow through them: the reparameterisation trick (Kingma &
Welling 2014 sec. 2.4). Discrete distributions have no such function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tensor as T
from nn import gpu
from nn.checks import check_probabilities
from nn.losses import bernoulli_cost
from tensor import Tensor
from tensor.arrays import Array, array_module, check_indices, is_on_gpu
from tensor.autodiff import op
from tensor.base import raw
from tensor.gpu import one_kernel
from tensor.promotion import common_device

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
    def mode(self) -> Tensor:
        """Where the density, or the probability, is highest, batch shape + event shape."""
        raise NotImplementedError(f"{type(self).__name__} has no mode")

    @property
    def variance(self) -> Tensor:
        """The variance of each element, batch shape + event shape."""
        raise NotImplementedError(f"{type(self).__name__} has no variance")

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of each element, batch shape + event shape."""
        return T.sqrt(self.variance)

    def rsample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """Draws through which gradients flow to the parameters."""
        name = type(self).__name__
        raise NotImplementedError(
            f"{name} is discrete: it has sample() and log_prob(), but no rsample()"
        )

    def sample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """Draws as constants, by a seeded `generator`, or else by that of `tensor.manual_seed`."""
        with T.no_grad():
            return self.rsample(sample_shape, generator=generator)

    def log_prob(self, value) -> Tensor:
        """The log of the density, or of the probability, at `value`, of shape (..., *batch_shape,
        *event_shape), in nats: (..., *batch_shape)."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """E[-log p(x)] in nats, (*batch_shape,)."""
        raise NotImplementedError


class _LocationScale(Distribution):
    """A density around `loc`, as wide as `scale`, element by element."""

    def __init__(self, loc, scale, validate_args: bool = True):
        name = type(self).__name__
        parameters = _parameters(name, loc=loc, scale=scale)
        if validate_args:
            _check_positive(f"{name}: scale", scale)
        self.loc, self.scale = _broadcast(name, *parameters)
        super().__init__(self.loc.shape)

    @property
    def mean(self) -> Tensor:
        """loc"""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc"""
        return self.loc


class Normal(_LocationScale):
    """N(loc, scale^2), element by element: the event is a scalar.

    `Independent(Normal(loc, scale), 1)` draws vectors. Raises ValueError unless scale > 0.
    """

    _half_log_var: Tensor | None = None

    @classmethod
    def from_log_var(cls, loc, log_var) -> Normal:
        """N(loc, exp(log_var)). Where its scale is too small for a dtype, or too large, densities,
        entropies and divergences are still right."""
        loc, log_var = _broadcast("Normal", *_parameters("Normal", loc=loc, log_var=log_var))
        half = 0.5 * log_var
        normal = cls(loc, T.exp(half), validate_args=False)
        normal._half_log_var = half
        return normal

    @property
    def _log_scale(self) -> Tensor:
        return T.log(self.scale) if self._half_log_var is None else self._half_log_var

    @property
    def _root(self) -> Tensor:
        """scale^(1/2), a constant: it is in range wherever log_var is above -300."""
        with T.no_grad():
            log_scale = self._half_log_var
            return T.sqrt(self.scale) if log_scale is None else T.exp(0.5 * log_scale)

    @property
    def variance(self) -> Tensor:
        """scale^2"""
        return T.square(self.scale)

    @property
    def stddev(self) -> Tensor:
        """scale"""
        return self.scale

    def rsample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """loc + scale * noise"""
        return self.loc + self.scale * _noise(self.loc, sample_shape, generator)

    def log_prob(self, value) -> Tensor:
        """-1/2 ((x - loc) / scale)^2 - log scale - 1/2 log 2 pi"""
        _check_device(self, value, self.loc)
        log_scale = self._log_scale
        distance = _over(value - self.loc, log_scale, self._root)
        return -0.5 * T.square(distance) - log_scale - 0.5 * LOG_2PI

    def entropy(self) -> Tensor:
        """log scale + 1/2 log(2 pi e)"""
        return self._log_scale + 0.5 * (LOG_2PI + 1)


class Laplace(_LocationScale):
    """Laplace(loc, scale), element by element: -log p is the L1 loss over scale, plus a constant.

    Raises ValueError unless scale > 0.
    """

    @property
    def variance(self) -> Tensor:
        """2 scale^2"""
        return 2 * T.square(self.scale)

    def rsample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """loc + scale * noise"""
        size = (*sample_shape, *self.batch_shape)
        noise = (generator or T.default_generator()).laplace(size=size)
        return self.loc + self.scale * Tensor(noise, dtype=self.loc.dtype, device=self.loc.device)

    def log_prob(self, value) -> Tensor:
        """-|x - loc| / scale - log(2 scale)"""
        _check_device(self, value, self.loc)
        return -T.abs(value - self.loc) / self.scale - T.log(2 * self.scale)

    def entropy(self) -> Tensor:
        """1 + log(2 scale)"""
        return 1 + T.log(2 * self.scale)


class Uniform(Distribution):
    """The same density everywhere in [low, high), element by element.

    Raises ValueError unless low < high.
    """

    def __init__(self, low, high, validate_args: bool = True):
        low, high = _parameters("Uniform", low=low, high=high)
        self.low, self.high = _broadcast("Uniform", low, high)
        self._width = self.high - self.low
        if validate_args:
            _check_positive("Uniform: high - low", self._width)
        super().__init__(self.low.shape)

    @property
    def mean(self) -> Tensor:
        """(low + high) / 2"""
        return (self.low + self.high) / 2

    @property
    def variance(self) -> Tensor:
        """(high - low)^2 / 12"""
        return T.square(self._width) / 12

    def rsample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """low + (high - low) * noise"""
        size, like = (*sample_shape, *self.batch_shape), self.low
        noise = T.rand(*size, generator=generator, dtype=like.dtype, device=like.device)
        return like + self._width * noise

    def log_prob(self, value) -> Tensor:
        """-log(high - low) in [low, high), else -inf"""
        _check_device(self, value, self.low)
        below_high = T.where(self.high > value, -T.log(self._width), -math.inf)
        return T.where(self.low <= value, below_high, -math.inf)

    def entropy(self) -> Tensor:
        """log(high - low)"""
        return T.log(self._width)


class MultivariateNormal(Distribution):
    """N(loc, S) over vectors: loc (..., d), and one of three matrices (..., d, d).

    They are the covariance matrix S, the precision matrix S^-1, or scale_tril, the lower triangular
    L with S = L L^T, by which all is computed. Raises ValueError unless L has a positive diagonal,
    or the other matrix is symmetric and positive definite.
    """

    def __init__(self, loc, covariance_matrix=None, precision_matrix=None, scale_tril=None):
        name, matrix = _the_one_given(
            "MultivariateNormal",
            covariance_matrix=covariance_matrix,
            precision_matrix=precision_matrix,
            scale_tril=scale_tril,
        )
        loc, matrix = _parameters("MultivariateNormal", numbers=False, loc=loc, **{name: matrix})
        d = loc.shape[-1] if loc.shape else 0
        if not d or matrix.shape[-2:] != (d, d):
            expected = f"expected loc (..., d) and {name} (..., d, d)"
            raise ValueError(f"MultivariateNormal: {expected}, got {loc.shape} and {matrix.shape}")
        batch = _common_shape("MultivariateNormal", loc.shape[:-1], matrix.shape[:-2])
        lower = _lower_triangular(name, matrix)
        self.loc, self.scale_tril = T.expand(loc, (*batch, d)), T.expand(lower, (*batch, d, d))
        super().__init__(batch, (d,))

    @property
    def mean(self) -> Tensor:
        """loc"""
        return self.loc

    @property
    def mode(self) -> Tensor:
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

    @property
    def precision_matrix(self) -> Tensor:
        """L^-T L^-1"""
        inverse = _inverse(self.scale_tril)
        return T.transpose(inverse, -1, -2) @ inverse

    def rsample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """loc + L noise"""
        noise = _noise(self.loc, sample_shape, generator)
        return self.loc + (self.scale_tril @ noise[..., None])[..., 0]

    def log_prob(self, value) -> Tensor:
        """-1/2 |L^-1 (x - loc)|^2 - log det L - d/2 log 2 pi"""
        _check_event(self, value)
        _check_device(self, value, self.loc)
        distance2 = _distance2(self.scale_tril, value - self.loc)
        return -0.5 * distance2 - _log_det(self.scale_tril) - 0.5 * self.event_shape[0] * LOG_2PI

    def entropy(self) -> Tensor:
        """log det L + d/2 log(2 pi e)"""
        return _log_det(self.scale_tril) + 0.5 * self.event_shape[0] * (LOG_2PI + 1)


class Bernoulli(Distribution):
    """1 with probability probs = sigmoid(logits), else 0, element by element.

    Raises ValueError unless one of them is given, and for probs outside [0, 1].
    """

    def __init__(self, probs=None, logits=None, validate_args: bool = True):
        name, given = _the_one_given("Bernoulli", probs=probs, logits=logits)
        (self._given,) = _parameters("Bernoulli", **{name: given})
        self._by_probs, self._validate = name == "probs", validate_args
        if self._by_probs and validate_args:
            check_probabilities("Bernoulli: probs", self._given)
        super().__init__(self._given.shape)

    @property
    def probs(self) -> Tensor:
        """p, the probability of 1"""
        return self._given if self._by_probs else T.sigmoid(self._given)

    @property
    def logits(self) -> Tensor:
        """log p - log(1 - p)"""
        if not self._by_probs:
            return self._given
        return _log(self._given) - _log1p(-self._given)

    @property
    def mean(self) -> Tensor:
        """p"""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """The likelier of 0 and 1; NaN where they are equally likely."""
        p = self.probs
        return T.where(p == 0.5, math.nan, (p > 0.5).to(p.dtype))

    @property
    def variance(self) -> Tensor:
        """p (1 - p)"""
        p1, p0 = self._chances()
        return p1 * p0

    def sample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """Zeros and ones, of the dtype of the parameter."""
        sizes, p = (*sample_shape, *self.batch_shape), self.probs
        uniform = T.rand(*sizes, generator=generator, dtype=np.float64, device=p.device)
        return (uniform < p).to(p.dtype)

    def log_prob(self, value) -> Tensor:
        """x log p + (1 - x) log(1 - p). For grey x: minus a cross-entropy."""
        _check_device(self, value, self._given)
        if self._validate:
            check_probabilities("Bernoulli.log_prob: value", value)
        x = value if hasattr(value, "dtype") else np.asarray(value)
        return self._mean_log_prob(x, 1 - x) if self._by_probs else -bernoulli_cost(self._given, x)

    def entropy(self) -> Tensor:
        """-p log p - (1 - p) log(1 - p)"""
        return -self._mean_log_prob(*self._chances())

    def _chances(self) -> tuple[Tensor, Tensor]:
        """p and 1 - p: of logits, small ones do not cancel."""
        if self._by_probs:
            return self._given, 1 - self._given
        return T.sigmoid(self._given), T.sigmoid(-self._given)

    def _mean_log_prob(self, p1, p0) -> Tensor:
        """p1 log p + p0 log(1 - p): of outcomes 1 and 0 that have the chances p1 and p0."""
        if not self._by_probs:
            cost1, cost0 = T.softplus(-self._given), T.softplus(self._given)
            return -p1 * _if_possible(p1, cost1) - p0 * _if_possible(p0, cost0)
        p = self._given
        log1 = _log(T.where(T.maximum(p1, p) > 0, p, 1.0))
        log0 = _log1p(T.where(T.maximum(p0, 1 - p) > 0, -p, 0.0))
        return p1 * log1 + p0 * log0


class Categorical(Distribution):
    """The classes 0..K-1, for probs (..., K), which are made to sum to 1, or logits (..., K), with
    probabilities softmax(logits).

    Classes have no mean or variance. Raises ValueError unless one of the two is given, and for
    probs that are negative or sum to 0.
    """

    def __init__(self, probs=None, logits=None, validate_args: bool = True):
        name, given = _the_one_given("Categorical", probs=probs, logits=logits)
        (x,) = _parameters("Categorical", numbers=False, **{name: given})
        if not x.shape or not x.shape[-1]:
            raise ValueError(f"Categorical: expected {name} (..., K), got {x.shape}")
        self._by_probs = name == "probs"
        if self._by_probs and validate_args:
            weights = x.numpy()
            if not ((weights >= 0) & (weights < np.inf)).all() or not weights.any(-1).all():
                raise ValueError("Categorical: probs must be finite, from 0 up, and not all 0")
        self._given = x / T.sum(x, -1, keepdim=True) if self._by_probs else T.log_softmax(x, -1)
        super().__init__(x.shape[:-1])

    @property
    def probs(self) -> Tensor:
        """p (..., K), which sums to 1"""
        return self._given if self._by_probs else T.exp(self._given)

    @property
    def logits(self) -> Tensor:
        """log p (..., K)"""
        return _log(self._given) if self._by_probs else self._given

    @property
    def mode(self) -> Tensor:
        """The likeliest class."""
        return T.argmax(self._given, -1)

    def sample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """Integers. Of K clocks that ring at rates p_k, clock k is first with probability p_k."""
        logits, rng = self.logits, generator or T.default_generator()
        waits = rng.exponential(size=(*sample_shape, *logits.shape))
        return T.argmax(logits - T.log(Tensor(waits, device=logits.device)), -1)

    def log_prob(self, value) -> Tensor:
        """log p_k for integers k; IndexError outside 0..K-1."""
        _check_device(self, value, self._given)
        classes = value if isinstance(value, Tensor) else Tensor(value)
        if classes.dtype.kind not in "iu":
            raise TypeError(f"Categorical.log_prob: classes are integers, got {classes.dtype}")
        K = self._given.shape[-1]
        check_indices(classes.data, K, "Categorical.log_prob", "class", from_the_end=False)
        like = self._given
        chosen = classes.to(like.device)[..., None] == array_module(like.data).arange(K)
        return self._mean_log_prob(chosen.to(like.dtype))

    def entropy(self) -> Tensor:
        """-sum over k of p_k log p_k"""
        return -self._mean_log_prob(self.probs)

    def _mean_log_prob(self, chances: Tensor) -> Tensor:
        """sum over k of chances_k log p_k"""
        if self._by_probs:
            p = self._given
            logs = _log(T.where(T.maximum(chances, p) > 0, p, 1.0))
        else:
            logs = _if_possible(chances, self._given)
        return T.sum(chances * logs, -1)


class Independent(Distribution):
    """`base_distribution` with its last `reinterpreted_batch_ndims` batch dimensions as one event:
    log-probabilities add up."""

    def __init__(self, base_distribution: Distribution, reinterpreted_batch_ndims: int):
        shape, ndims = base_distribution.batch_shape, reinterpreted_batch_ndims
        if not 0 <= ndims <= len(shape):
            limit = f"0 to {len(shape)}, for the batch shape {shape}"
            wrong = f"reinterpreted_batch_ndims must be from {limit}, got {ndims}"
            raise ValueError(f"Independent: {wrong}")
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, ndims
        split = len(shape) - ndims
        super().__init__(shape[:split], shape[split:] + base_distribution.event_shape)

    @property
    def mean(self) -> Tensor:
        """That of the base."""
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        """That of the base."""
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        """That of the base."""
        return self.base_dist.variance

    @property
    def stddev(self) -> Tensor:
        """That of the base."""
        return self.base_dist.stddev

    def rsample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """Draws of the base."""
        return self.base_dist.rsample(sample_shape, generator=generator)

    def sample(self, sample_shape: Shape = (), *, generator: Rng | None = None) -> Tensor:
        """Draws of the base."""
        return self.base_dist.sample(sample_shape, generator=generator)

    def log_prob(self, value) -> Tensor:
        """Summed over the event."""
        _check_event(self, value)
        return _sum_last(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        """Summed over the event."""
        return _sum_last(self.base_dist.entropy(), self.reinterpreted_batch_ndims)


# KL(p || q) = E over p of log p(x) - log q(x), in nats


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q) in closed form, in nats, with the batch shape.

    Raises NotImplementedError for pairs of which no form is known here (see `kl_monte_carlo`),
    ValueError for events of different shapes.
    """
    form = _CLOSED_FORMS.get((type(p), type(q)))
    if form is None:
        pair = f"{type(p).__name__} || {type(q).__name__}"
        cause = f"knows no closed form for {pair}; kl_monte_carlo estimates it"
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
    x = p.sample((samples, *shared), generator=generator)
    differences = p.log_prob(x) - q.log_prob(x)
    return Estimate(T.mean(differences, 0), T.sqrt(T.var(differences, dim=0) / samples))


@op(d=lambda g, log_scale, root: _over(g, log_scale, root), log_scale=lambda g, y: -g * y)
def _over(d: Array, log_scale: Array, root: Array) -> Tensor:
    """d / scale for root = scale^(1/2), differentiated by log scale: a scale near 0 is no divisor.

    So gradients are infinite where they are too large, never inf - inf.
    """
    return gpu.over(d, root)


def _kl_normal(p: Normal, q: Normal) -> Tensor:
    """1/2 (r^2 + ((loc_p - loc_q) / scale_q)^2 - 1 - log r^2), where r = scale_p / scale_q"""
    return _normal_divergence(p.loc, p._log_scale, q.loc, q._log_scale, q._root)


@one_kernel
def _by_loc_p(g, loc_p, loc_q, log_scale_q, root_q):
    """g d / scale_q"""
    return _over(g * _over(loc_p - loc_q, log_scale_q, root_q), log_scale_q, root_q)


@one_kernel
def _by_log_scale_p(g, log_scale_p, log_scale_q):
    """g (e^u - 1)"""
    return g * (T.exp(2 * (log_scale_p - log_scale_q)) - 1)


@one_kernel
def _by_log_scale_q(g, loc_p, log_scale_p, loc_q, log_scale_q, root_q):
    """g (1 - e^u - d^2)"""
    d = _over(loc_p - loc_q, log_scale_q, root_q)
    return g * (1 - T.exp(2 * (log_scale_p - log_scale_q)) - d * d)


@op(
    loc_p=_by_loc_p,
    log_scale_p=_by_log_scale_p,
    loc_q=lambda g, loc_p, loc_q, log_scale_q, root_q: _by_loc_p(
        -g, loc_p, loc_q, log_scale_q, root_q
    ),
    log_scale_q=_by_log_scale_q,
)
def _normal_divergence(
    loc_p: Array, log_scale_p: Array, loc_q: Array, log_scale_q: Array, root_q: Array
) -> Tensor:
    return gpu.normal_divergence(loc_p, log_scale_p, loc_q, log_scale_q, root_q)


def _kl_multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    """1/2 (|L_q^-1 L_p|^2 + |L_q^-1 (loc_p - loc_q)|^2 - d) + log det L_q - log det L_p"""
    ratio = _solve(q.scale_tril, p.scale_tril)
    distance2 = _distance2(q.scale_tril, p.loc - q.loc)
    squares = T.sum(T.square(ratio), (-1, -2)) + distance2 - p.event_shape[0]
    return 0.5 * squares + _log_det(q.scale_tril) - _log_det(p.scale_tril)


def _kl_bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    """p (log p - log q) + (1 - p) (log(1 - p) - log(1 - q))"""
    chances = p._chances()
    return p._mean_log_prob(*chances) - q._mean_log_prob(*chances)


def _kl_categorical(p: Categorical, q: Categorical) -> Tensor:
    """sum over k of p_k (log p_k - log q_k)"""
    K_p, K_q = p._given.shape[-1], q._given.shape[-1]
    if K_p != K_q:
        raise ValueError(f"kl_divergence: {K_p} classes and {K_q} classes")
    return p._mean_log_prob(p.probs) - q._mean_log_prob(p.probs)


def _kl_independent(p: Independent, q: Independent) -> Tensor:
    """Summed over the event: the KL of independent dimensions adds up."""
    n, m = p.reinterpreted_batch_ndims, q.reinterpreted_batch_ndims
    if n != m:
        raise ValueError(f"kl_divergence: events of {n} and {m} independent dimensions")
    return _sum_last(kl_divergence(p.base_dist, q.base_dist), n)


def _full(p: Distribution) -> MultivariateNormal:
    """A diagonal normal over vectors, as one with a full covariance."""
    if isinstance(p, MultivariateNormal):
        return p
    base = p.base_dist if isinstance(p, Independent) and p.reinterpreted_batch_ndims == 1 else None
    if not isinstance(base, Normal):
        rule = "a MultivariateNormal compares with its like and with Independent(Normal, 1)"
        raise NotImplementedError(f"kl_divergence: {rule}")
    diagonal = base.scale[..., None] * _identity(base.scale)
    return MultivariateNormal(base.loc, scale_tril=diagonal)


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


def _the_one_given(owner: str, **parameters) -> tuple[str, Any]:
    """The name and the value of the parameter that is not None; ValueError unless there is one."""
    given = [pair for pair in parameters.items() if pair[1] is not None]
    if len(given) != 1:
        names = ", ".join(name for name, _ in given) or "none"
        raise ValueError(f"{owner}: expected exactly one of {', '.join(parameters)}, got {names}")
    return given[0]


def _parameters(owner: str, numbers: bool = True, **given) -> list[Tensor]:
    """Parameters as tensors on one device. Numbers, where they may be, take the dtype of the first
    array or tensor, if any."""
    arrays = {}
    for name, x in given.items():
        if numbers and isinstance(x, (int, float)):
            continue
        if not hasattr(x, "dtype") or x.dtype.kind != "f":
            got = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"{owner}: {name} must be a tensor or an array of floats, got {got}")
        arrays[name] = x
    deciding = [raw(x) for x in arrays.values() if isinstance(x, Tensor) or is_on_gpu(x)]
    device = common_device(owner, deciding)
    dtype = next((x.dtype for x in arrays.values()), np.float32)
    known = [x if name in arrays else np.asarray(x, dtype) for name, x in given.items()]
    return [x if isinstance(x, Tensor) else Tensor(x, device=device) for x in known]


def _broadcast(owner: str, *parameters: Tensor) -> list[Tensor]:
    shape = _common_shape(owner, *(x.shape for x in parameters))
    return [x if x.shape == shape else T.expand(x, shape) for x in parameters]


def _lower_triangular(name: str, matrix: Tensor) -> Tensor:
    """L, of which no gradient flows above the diagonal, from the matrix that has this name."""
    tri = array_module(matrix.data).tri(matrix.shape[-1], dtype=matrix.dtype)
    values, wrong = matrix.numpy(), f"MultivariateNormal: {name} must be"
    if name == "scale_tril":
        diagonal = np.diagonal(values, axis1=-2, axis2=-1)
        _check_positive("MultivariateNormal: the diagonal of scale_tril", diagonal)
        if np.triu(values, 1).any():
            raise ValueError(f"{wrong} lower triangular")
        return matrix * tri
    if not np.allclose(values, np.swapaxes(values, -1, -2), atol=1e-6):
        raise ValueError(f"{wrong} symmetric")
    try:
        if name == "covariance_matrix":
            return T.cholesky(matrix)
        # S^-1 = U U^T with U upper triangular: the Cholesky factor from the other end. So L = U^-T.
        upper = T.flip(T.cholesky(T.flip(matrix, (-1, -2))), (-1, -2))
        return _inverse(T.transpose(upper, -1, -2)) * tri
    except ValueError:
        raise ValueError(f"{wrong} positive definite") from None


def _check_device(distribution: Distribution, value, like: Tensor) -> None:
    """RuntimeError for a tensor on another device than the parameter `like`."""
    if isinstance(value, Tensor):
        common_device(f"{type(distribution).__name__}.log_prob", [value.data, like.data])


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
    """ValueError unless x > 0: a number, an array, or a tensor, whose GPU is waited for."""
    if not (x > 0 if isinstance(x, (int, float)) else bool((x > 0).all())):
        raise ValueError(f"{name} must be positive everywhere")


def _if_possible(p: Tensor, x: Tensor) -> Tensor:
    """x where p > 0, else 0: an impossible outcome adds nothing to an expectation, 0 log 0 = 0, nor
    to its gradients."""
    return T.where(p > 0, x, 0.0)


def _log(p: Tensor) -> Tensor:
    with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf, as it should be
        return T.log(p)


def _log1p(p: Tensor) -> Tensor:
    with np.errstate(divide="ignore"):
        return T.log1p(p)


def _noise(like: Tensor, shape: Shape, generator: Rng | None) -> Tensor:
    """Standard normal numbers: `shape` times a tensor like `like`."""
    return T.randn(*shape, *like.shape, generator=generator, dtype=like.dtype, device=like.device)


def _sum_last(x: Tensor, ndims: int) -> Tensor:
    return T.sum(x, tuple(range(-ndims, 0))) if ndims else x


def _identity(like: Tensor) -> Array:
    """The matrix 1 for vectors or matrices like `like`."""
    return array_module(like.data).eye(like.shape[-1], dtype=like.dtype)


def _inverse(matrix: Tensor) -> Tensor:
    return _solve(matrix, _identity(matrix))


def _diagonal(matrix) -> Tensor:
    *batch, d, _ = matrix.shape
    return matrix.reshape(*batch, d * d)[..., :: d + 1]


def _log_det(tril) -> Tensor:
    return T.sum(T.log(_diagonal(tril)), -1)


def _distance2(tril, x) -> Tensor:
    """|L^-1 x|^2"""
    return T.sum(T.square(_solve(tril, x[..., None])), (-1, -2))


def _solve(A, B) -> Tensor:
    """A^-1 B for matrices; with fewer dimensions than A, B might be taken for vectors."""
    return T.solve(A, B.reshape(*(1,) * (A.ndim - B.ndim), *B.shape))
