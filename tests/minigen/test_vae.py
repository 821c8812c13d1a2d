"""The VAE against closed forms: with a linear decoder and Gaussian pixels, log p(x) and the
posterior are known."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nn
import tensor as T
from minigen.models.latent import lerp, slerp, traversal
from minigen.models.vae import VAE
from minigen.networks.coders import mlp_decoder, mlp_encoder
from tensor import Tensor

PIXELS = (1, 2, 3)
D = 6
seeds = st.integers(0, 2**16)
latents = st.integers(1, 3)


def close(expected: Any, tolerance: float = 1e-9) -> Any:
    return pytest.approx(expected, rel=tolerance, abs=tolerance)


# A VAE that is a factor analysis: z ~ N(0, I), x = W z + b + s N(0, I), where the columns of W are
# orthogonal


class Linear(NamedTuple):
    """The VAE, whose encoder is N(shift + posterior mean, stretch^2 posterior variance), and what
    is known about it."""

    vae: VAE
    W: np.ndarray
    b: np.ndarray
    s2: float

    @property
    def posterior_variance(self) -> np.ndarray:
        """(I + W^T W / s^2)^-1, which is diagonal."""
        return 1 / (1 + (self.W**2).sum(0) / self.s2)

    def posterior_mean(self, x: np.ndarray) -> np.ndarray:
        return (x.reshape(-1, D) - self.b) @ self.W / self.s2 * self.posterior_variance

    def log_marginal(self, x: np.ndarray) -> np.ndarray:
        """log N(x; b, W W^T + s^2 I)"""
        S, r = self.W @ self.W.T + self.s2 * np.eye(D), x.reshape(-1, D) - self.b
        return -0.5 * (
            np.einsum("ni,ij,nj->n", r, np.linalg.inv(S), r) + np.linalg.slogdet(2 * np.pi * S)[1]
        )


def linear(latent: int, seed: int, shift: float = 0.0, stretch: float = 1.0) -> Linear:
    rng = np.random.default_rng(seed)
    W = np.linalg.qr(rng.standard_normal((D, latent)))[0] * rng.uniform(0.5, 2, latent)
    b, s2 = rng.standard_normal(D), rng.uniform(0.3, 1.5)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(D, 2 * latent))
    decoder = nn.Sequential(nn.Linear(latent, D), nn.Unflatten(1, PIXELS))
    made = Linear(VAE(encoder, decoder, latent, "gaussian").to("float64"), W, b, s2)
    v = made.posterior_variance
    for parameter, values in (
        (decoder[0].weight, W),
        (decoder[0].bias, b),
        (encoder[1].weight, np.concatenate([(W * v / s2).T, np.zeros((latent, D))])),
        (encoder[1].bias, np.concatenate([-b @ W / s2 * v + shift, np.log(v * stretch**2)])),
        (made.vae.log_var, np.log(s2)),
    ):
        parameter.copy_(values)
    return made


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, *PIXELS))


def with_noise(noise: np.ndarray) -> Any:
    """The draws of the encoder take this for their noise."""
    patch = pytest.MonkeyPatch()
    patch.setattr(
        nn.distributions, "_noise", lambda like, shape, generator: Tensor(noise, dtype=like.dtype)
    )
    return patch


def expected_terms(vae: VAE, x: np.ndarray, latent: int) -> list[np.ndarray]:
    """Both terms (N,), in expectation over z.

    log p(x | z) is quadratic in z, so that the mean over the 2 latent points +- sqrt(latent) e_k,
    whose moments are those of N(0, I), is its expectation.
    """
    points = math.sqrt(latent) * np.concatenate([np.eye(latent), -np.eye(latent)])
    patch = with_noise(np.repeat(points, len(x), 0))
    try:
        terms = vae.terms(Tensor(np.concatenate([x] * len(points))))
    finally:
        patch.undo()
    return [term.numpy().reshape(len(points), len(x)).mean(0) for term in terms]


@given(latent=latents, seed=seeds)
def test_the_elbo_with_the_exact_posterior_is_the_log_marginal_likelihood(
    latent: int, seed: int
) -> None:
    model, x = linear(latent, seed), images(3, seed)
    reconstruction, kl = expected_terms(model.vae, x, latent)
    assert -(reconstruction + kl) == close(model.log_marginal(x))
    q = model.vae.posterior(Tensor(x))
    assert q.mean.numpy() == close(model.posterior_mean(x))
    assert q.variance.numpy() == close(np.tile(model.posterior_variance, (3, 1)))


@given(latent=latents, seed=seeds, shift=st.floats(-1, 1), stretch=st.floats(0.3, 3))
def test_the_elbo_of_another_posterior_is_lower_by_its_kl(
    latent: int, seed: int, shift: float, stretch: float
) -> None:
    model, x = linear(latent, seed, shift, stretch), images(3, seed)
    reconstruction, kl = expected_terms(model.vae, x, latent)
    gap = 0.5 * (stretch**2 + shift**2 / model.posterior_variance - 1 - 2 * math.log(stretch)).sum()
    assert -(reconstruction + kl) == close(model.log_marginal(x) - gap)
    assert (-(reconstruction + kl) <= model.log_marginal(x) + 1e-9).all()


def test_the_elbo_of_single_draws_averages_to_the_log_marginal_likelihood() -> None:
    model, x = linear(2, 0), np.repeat(images(1), 5000, 0)
    elbo = model.vae.terms(Tensor(x), rng=np.random.default_rng(0)).elbo.numpy()
    assert elbo.mean() == pytest.approx(
        model.log_marginal(x)[0], abs=5 * elbo.std() / math.sqrt(5000)
    )


# The importance-weighted bound


@given(latent=latents, seed=seeds, samples=st.integers(1, 4))
def test_with_the_exact_posterior_every_importance_weight_is_the_marginal_likelihood(
    latent, seed, samples
) -> None:
    model, x = linear(latent, seed), images(3, seed)
    bound = model.vae.iwae_bound(Tensor(x), samples, rng=np.random.default_rng(seed))
    assert bound.numpy() == close(model.log_marginal(x))


@given(latent=latents, seed=seeds)
def test_with_one_sample_it_is_the_estimate_of_that_draw(latent: int, seed: int) -> None:
    """log p(x | z) + log p(z) - log q(z | x), for the draw that the same seed gives `terms`."""
    model, x = linear(latent, seed, 0.5, 1.5), images(3, seed)
    q = model.vae.posterior(Tensor(x))
    z = q.sample(generator=np.random.default_rng(seed))
    estimate = model.vae.terms(Tensor(x), rng=np.random.default_rng(seed)).reconstruction.numpy()
    kl = (q.log_prob(z) - model.vae.prior(3).log_prob(z)).numpy()
    bound = model.vae.iwae_bound(Tensor(x), 1, rng=np.random.default_rng(seed)).numpy()
    assert bound == close(-(estimate + kl))


def test_it_grows_with_the_samples_to_the_log_marginal_likelihood() -> None:
    model = linear(2, 3, shift=0.4, stretch=1.3)
    x = np.repeat(images(1), 4000, 0)
    rng = np.random.default_rng(0)
    bounds = [model.vae.iwae_bound(Tensor(x), k, rng=rng).numpy() for k in (1, 3, 10, 100)]
    means, errors = [b.mean() for b in bounds], [b.std() / math.sqrt(len(b)) for b in bounds]
    exact = model.log_marginal(x)[0]
    assert all(b - a > 5 * (ea + eb) for a, b, ea, eb in zip(means, means[1:], errors, errors[1:]))
    assert means[-1] <= exact + 5 * errors[-1] and means[-1] == pytest.approx(exact, abs=0.02)
    assert exact - means[0] > 0.2


def test_it_needs_a_sample() -> None:
    with pytest.raises(ValueError, match="iwae_bound: samples must be a positive integer, got 0"):
        linear(1, 0).vae.iwae_bound(Tensor(images(1)), 0)


# The two terms


def vae(
    likelihood: str = "bernoulli", classes: int = 0, latent: int = 2, dtype: str = "float64"
) -> VAE:
    T.manual_seed(0)
    _, H, W = PIXELS
    encoder = mlp_encoder((1 + classes, H, W), 2 * latent, 8)
    return VAE(encoder, mlp_decoder(latent + classes, PIXELS, 8), latent, likelihood, classes).to(
        dtype
    )


def loss_of(
    model: VAE, x: Tensor, labels: Any = None, beta: float = 1.0, rng: Any = None
) -> Tensor:
    """What training minimises."""
    terms = model.terms(x, labels, rng)
    return T.mean(terms.reconstruction + beta * terms.kl)


def greys(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, *PIXELS))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@given(seed=seeds)
def test_the_terms_are_summed_over_pixels_and_latents_for_each_image(
    likelihood: str, seed: int
) -> None:
    """By hand, for draws without noise."""
    model, x = vae(likelihood), greys(3, seed)
    if model.log_var is not None:
        model.log_var.copy_(np.array(-0.7))
    patch = with_noise(np.zeros((3, 2)))
    try:
        terms = model.terms(Tensor(x))
    finally:
        patch.undo()
    mu, log_var = np.split(model.encoder(Tensor(x)).numpy(), 2, 1)
    y = model.decoder(Tensor(mu)).numpy()
    if likelihood == "bernoulli":
        p, target = 1 / (1 + np.exp(-y)), (x + 1) / 2
        costs = -target * np.log(p) - (1 - target) * np.log(1 - p)
    else:
        costs = 0.5 * (x - y) ** 2 / np.exp(-0.7) + 0.5 * math.log(2 * math.pi) - 0.35
    kl = 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(1)
    assert terms.reconstruction.numpy() == close(costs.sum((1, 2, 3)))
    assert terms.kl.numpy() == close(kl)
    assert terms.elbo.numpy() == close(-costs.sum((1, 2, 3)) - kl)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_the_gradient_reaches_every_parameter(likelihood: str, classes: int, beta: float) -> None:
    """The encoder's also through the draws: with beta = 0 there is no other way."""
    model = vae(likelihood, classes, dtype="float32")
    labels = np.arange(6) % 3 if classes else None
    loss = loss_of(model, Tensor(greys(6), dtype=np.float32), labels, beta)
    loss.backward()
    assert loss.dtype == np.float32
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.numpy().any()
    ] == []
    assert (model.log_var is None) == (likelihood == "bernoulli")


@pytest.mark.parametrize(
    "bound",
    [
        lambda vae, x, rng: vae.iwae_bound(x, 3, None, rng),
        lambda vae, x, rng: vae.terms(x, None, rng).elbo,
    ],
)
def test_the_gradients_of_the_bounds_are_those_of_finite_differences(bound: Any) -> None:
    """By all parameters at once, in one direction: through the draws, their densities and the
    images."""
    model, x, eps, rng = vae("gaussian"), Tensor(greys(2)), 1e-6, np.random.default_rng(0)
    parameters = list(model.parameters())
    starts = [p.numpy().copy() for p in parameters]
    directions = [rng.standard_normal(p.shape) for p in parameters]

    def moved(step: float) -> Tensor:
        for p, start, direction in zip(parameters, starts, directions):
            p.copy_(start + step * direction)
        return T.sum(bound(model, x, np.random.default_rng(1)))

    slope = sum((g.numpy() * d).sum() for g, d in zip(T.grad(moved(0), parameters), directions))
    assert slope == close((moved(eps) - moved(-eps)).item() / (2 * eps), 1e-6)


def test_draws_follow_their_seed() -> None:
    model, x = vae(), Tensor(greys(2))
    a, b, c = (loss_of(model, x, rng=np.random.default_rng(seed)).item() for seed in (1, 1, 2))
    assert a == b != c


def test_the_best_variance_of_gaussian_pixels_is_the_mean_squared_error() -> None:
    """There the derivative by log_var is zero."""
    model, x = vae("gaussian"), greys(4)
    z = model.posterior(Tensor(x)).sample(generator=np.random.default_rng(0))
    error = np.mean((model.decoder(z).numpy() - x) ** 2)
    for factor, sign in ((0.9, -1), (1, 0), (1.1, 1)):
        model.log_var.copy_(np.log(factor * error))
        (g,) = T.grad(loss_of(model, Tensor(x), rng=np.random.default_rng(0)), model.log_var)
        assert g.item() == close(sign * abs(g.item()))
        assert (abs(g.item()) < 1e-9) == (sign == 0)


def test_images_go_in_and_come_out_between_minus_1_and_1() -> None:
    z = Tensor(50 * np.random.default_rng(0).standard_normal((20, 2)))
    coins, normals = vae(), vae("gaussian")
    x = coins.decode(z)
    assert (
        x.shape == (20, *PIXELS)
        and abs(x.numpy()).max() <= 1
        and x.numpy().min() < 0 < x.numpy().max()
    )
    assert coins.pixels(x).numpy() == close(1 / (1 + np.exp(-coins.decoder(z).numpy())))
    assert (
        np.array_equal(normals.decode(z).numpy(), normals.decoder(z).numpy())
        and normals.pixels(x) is x
    )
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        coins.terms(2 * Tensor(np.ones((1, *PIXELS))))


def test_the_prior_is_standard_normal() -> None:
    prior = vae().prior(5)
    assert (prior.batch_shape, prior.event_shape) == ((5,), (2,)) and prior.mean.dtype == np.float64
    assert not prior.mean.numpy().any() and (prior.variance.numpy() == 1).all()


def test_likelihoods_have_names() -> None:
    with pytest.raises(
        ValueError,
        match=r"VAE: likelihood must be one of \('bernoulli', 'gaussian'\), got 'normal'",
    ):
        VAE(nn.Flatten(), nn.Flatten(), 2, "normal")


def test_a_vae_computes_the_same_on_every_device(device: str) -> None:
    labels, x = np.array([0, 2, 1]), greys(3)
    here, there = vae("gaussian", 3), vae("gaussian", 3).to(device)
    results = []
    for model, where in ((here, "cpu"), (there, device)):
        rng = np.random.default_rng(0)
        results.append([y.to("cpu").numpy() for y in (
            *model.terms(Tensor(x, device=where), labels, rng),
            model.iwae_bound(Tensor(x, device=where), 2, labels, rng),
            model.decode(model.prior(3).sample(generator=rng), labels),
        )])  # fmt: skip
    for a, b in zip(*results, strict=True):
        assert a == close(b)


# Labels


def test_encoder_and_decoder_see_the_label() -> None:
    model, x = vae(classes=3), Tensor(np.repeat(greys(1), 3, 0))
    labels, z = np.arange(3), T.zeros(3, 2, dtype=np.float64)
    for seen in (
        model.posterior(x, labels).mean,
        model.posterior(x, labels).variance,
        model.decode(z, labels),
    ):
        assert all(
            not np.allclose(seen.numpy()[a], seen.numpy()[b]) for a, b in ((0, 1), (0, 2), (1, 2))
        )
    swapped = model.decode(z, labels[::-1]).numpy()
    assert swapped == close(model.decode(z, labels).numpy()[::-1])
    assert not np.allclose(
        model.terms(x, labels).kl.numpy()[0], model.terms(x, labels).kl.numpy()[1]
    )


def test_a_conditional_model_needs_labels() -> None:
    model, x, z = vae(classes=3), Tensor(greys(2)), T.zeros(2, 2, dtype=np.float64)
    calls = [
        lambda: model.terms(x),
        lambda: model.posterior(x),
        lambda: model.decode(z),
        lambda: model.iwae_bound(x, 2),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="this model is conditional: it needs labels"):
            call()


def test_other_models_take_no_labels() -> None:
    """They would have no effect, and whoever gives them expects one."""
    model, x, z, labels = vae(), Tensor(greys(2)), T.zeros(2, 2, dtype=np.float64), np.array([0, 1])
    calls = [
        lambda: model.terms(x, labels),
        lambda: model.posterior(x, labels),
        lambda: model.decode(z, labels),
    ]
    for call in [*calls, lambda: model.iwae_bound(x, 2, labels)]:
        with pytest.raises(ValueError, match="this model is not conditional, it takes no labels"):
            call()


# Ways through the latent space

vectors = hnp.arrays(
    np.float64, 3, elements=st.floats(-3, 3).map(lambda v: round(v, 3)), fill=st.nothing()
)
ways = pytest.mark.parametrize("way", [lerp, slerp])


@ways
@given(a=vectors, b=vectors, n=st.integers(2, 9))
def test_ways_lead_from_one_end_to_the_other(
    way: Any, a: np.ndarray, b: np.ndarray, n: int
) -> None:
    points = way(a, b, n)
    assert points.shape == (n, 3) and np.isfinite(points).all()
    assert points[0] == close(a, 1e-6) and points[-1] == close(b, 1e-6)
    assert way(b, a, n) == close(points[::-1], 1e-6)
    assert way(a.astype(np.float32), b.astype(np.float32), n).dtype == np.float32


@given(a=vectors, b=vectors, n=st.integers(2, 9))
def test_lerp_goes_straight_in_equal_steps(a: np.ndarray, b: np.ndarray, n: int) -> None:
    assert np.diff(lerp(a, b, n), axis=0) == close(np.tile((b - a) / (n - 1), (n - 1, 1)))


@given(
    angle=st.floats(0.01, math.pi - 0.01), length=st.floats(0.1, 5), n=st.integers(2, 9), seed=seeds
)
def test_slerp_keeps_the_length_and_turns_in_equal_steps(
    angle: float, length: float, n: int, seed: int
) -> None:
    plane = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 2)))[0].T
    turns = np.linspace(0, angle, n)[:, None]
    arc = length * (np.cos(turns) * plane[0] + np.sin(turns) * plane[1])
    assert slerp(arc[0], arc[-1], n) == close(arc, 1e-7)


@pytest.mark.parametrize("factor", [2.0, 1.0, 0.0, -1.0])
def test_slerp_of_parallel_vectors_is_the_straight_line(factor: float) -> None:
    a = np.array([0.6, 0.8])
    assert slerp(a, factor * a, 5) == close(lerp(a, factor * a, 5))


@given(
    z=vectors,
    dim=st.integers(0, 2),
    values=hnp.arrays(np.float64, st.integers(1, 5), elements=st.floats(-3, 3)),
)
def test_a_traversal_changes_one_dimension_only(
    z: np.ndarray, dim: int, values: np.ndarray
) -> None:
    before = z.copy()
    points = traversal(z, dim, values)
    assert np.array_equal(points[:, dim], values) and points.shape == (len(values), 3)
    assert (np.delete(points, dim, 1) == np.delete(z, dim)).all() and np.array_equal(z, before)


def gaussian(log_var: float) -> VAE:
    """A model whose q(z | x) is N(x, exp(log_var))."""
    model = VAE(nn.Linear(1, 2), nn.Linear(1, 1), latent=1)
    model.encoder.forward = lambda x: T.cat([x, 0 * x + log_var], 1)  # type: ignore[method-assign]
    return model


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("log_var", [math.nan, math.inf, -math.inf, 1e30])
def test_a_variance_that_is_not_finite_shows_in_the_bound(log_var: float, device: str) -> None:
    model, x = gaussian(log_var).to(device), T.ones(3, 1, device=device)
    assert not np.isfinite(
        nn.distributions.kl_divergence(model.posterior(x), model.prior(3)).numpy()
    ).any()


@given(log_var=st.floats(-1000, 80, width=32) | st.sampled_from([-1000.0, 80.0]))
def test_the_terms_are_right_for_any_log_variance(log_var: float, device: str) -> None:
    """KL = (m^2 + e^v - 1 - v) / 2, and -log p of a Gaussian at its mean (v + log 2 pi) / 2."""
    model, x = gaussian(log_var).to(device), T.ones(2, 1, device=device)
    kl = nn.distributions.kl_divergence(model.posterior(x), model.prior(2)).numpy()
    v = np.float64(np.float32(log_var))
    assert kl == pytest.approx((np.exp(v) - v) / 2, rel=1e-4)
    model.log_var = nn.Parameter(np.float32(log_var)).to(device)
    model.likelihood, model.decoder.forward = "gaussian", lambda z: 0 * z  # type: ignore
    p = model.observation(T.zeros(2, 1, 1, 1, device=device))
    at_mean = p.log_prob(T.zeros(2, 1, 1, 1, device=device))
    assert at_mean.numpy() == pytest.approx(-(v + math.log(2 * math.pi)) / 2, rel=1e-5, abs=1e-5)
    (slope,) = T.grad(at_mean.sum(), [model.log_var])
    assert slope.item() == pytest.approx(-1)
