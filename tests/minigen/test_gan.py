"""The game of two networks: its losses against theory and by hand, the gradient penalty against
finite differences, and who moves whom."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nn
import tensor as T
from minigen.models.gan import EQUILIBRIA, GAN, LOSSES, PENALISED, clip_weights, gradient_penalty
from minigen.networks.dcgan import dcgan_discriminator, dcgan_generator
from minigen.networks.points import FourierFeatures, mlp_discriminator, mlp_generator
from tensor import Tensor

LOG4 = math.log(4)
seeds = st.integers(0, 2**16)
every_loss = pytest.mark.parametrize("loss", LOSSES)


def close(expected: Any, tolerance: float = 1e-9) -> Any:
    return pytest.approx(expected, rel=tolerance, abs=tolerance)


def leaf(values: Any) -> Tensor:
    return Tensor(np.asarray(values, np.float64), requires_grad=True)


# The losses, of discrete distributions: a batch with so many draws of each outcome has the
# expectation for its mean

counts = hnp.arrays(np.int64, (2, 4), elements=st.integers(1, 6))


def drawn(d: Tensor, counts: np.ndarray) -> Tensor:
    """d (outcomes,) at each draw."""
    return d[np.repeat(np.arange(len(counts)), counts)]


@pytest.mark.parametrize("loss", EQUILIBRIA)
@given(counts=counts, seed=seeds)
def test_in_equilibrium_no_discriminator_does_better(
    loss: str, counts: np.ndarray, seed: int
) -> None:
    """Samples distributed as data: the loss is that of the table at a constant d, at which D = 1/2,
    or of lsgan d = 1/2, and no lower anywhere (Goodfellow et al. 2014, Theorem 1)."""
    values, p = EQUILIBRIA[loss], counts[0]
    level = leaf(np.full(4, 0.5 if loss == "lsgan" else 0.0))
    losses = LOSSES[loss]
    assert losses.discriminator(drawn(level, p), drawn(level, p)).item() == close(
        values["discriminator"]
    )
    if "generator" in values:
        assert losses.generator(drawn(level, p)).item() == close(values["generator"])
    d = leaf(np.random.default_rng(seed).normal(size=4))
    assert losses.discriminator(drawn(d, p), drawn(d, p)).item() > values["discriminator"] - 1e-9


@pytest.mark.parametrize("loss", ["minimax", "non-saturating", "gan-gp", "lsgan"])
@given(counts=counts, seed=seeds)
def test_the_best_discriminator_is_p_over_p_plus_q(
    loss: str, counts: np.ndarray, seed: int
) -> None:
    """Goodfellow et al. 2014, Proposition 1 (of lsgan: Mao et al. 2017): there the gradient
    vanishes, and everywhere else the loss is higher."""
    p, q = counts / counts.sum(1, keepdims=True)
    best = p / (p + q)
    d = leaf(best if loss == "lsgan" else np.log(p / q))
    lowest = LOSSES[loss].discriminator(drawn(d, counts[0]), drawn(d, counts[1]))
    assert T.grad(lowest, d)[0].numpy() == close(np.zeros(4))
    other = d.detach() + np.random.default_rng(seed).normal(size=4)
    assert (
        LOSSES[loss].discriminator(drawn(other, counts[0]), drawn(other, counts[1])).item()
        > lowest.item()
    )


@given(counts=counts)
def test_the_value_of_the_game_is_twice_the_jensen_shannon_divergence_less_log_4(
    counts: np.ndarray,
) -> None:
    """Goodfellow et al. 2014 eq. 6, where V = E log D + E log(1 - D) is the negative of the
    discriminator's loss."""
    p, q = counts / counts.sum(1, keepdims=True)
    d = Tensor(np.log(p / q))
    value = -LOSSES["minimax"].discriminator(drawn(d, counts[0]), drawn(d, counts[1])).item()
    m = (p + q) / 2
    assert value == close((p @ np.log(p / m) + q @ np.log(q / m)) - LOG4)
    same = Tensor(np.zeros(4))
    assert -LOSSES["minimax"].discriminator(
        drawn(same, counts[0]), drawn(same, counts[0])
    ).item() == close(-LOG4)


@given(d=hnp.arrays(np.float64, 5, elements=st.floats(-30, 30)))
def test_one_generator_loss_saturates_and_the_other_does_not(d: np.ndarray) -> None:
    """By a logit their slopes are -D and -(1 - D): of one sign, but where D is near 0 one vanishes
    and one is -1."""
    D = 1 / (1 + np.exp(-d))
    for loss, slopes in (("minimax", -D), ("non-saturating", D - 1)):
        x = leaf(d)
        assert 5 * T.grad(LOSSES[loss].generator(x), x)[0].numpy() == close(slopes, 1e-12)


REAL, FAKE = [3.0, 0.0], [-2.0, 1.0]
LOG3 = math.log(3)
BY_HAND = {
    "lsgan": (REAL, FAKE, 2.5, 2.25),
    "wgan": (REAL, FAKE, -2.0, 0.5),
    "wgan-gp": (REAL, FAKE, -2.0, 0.5),
    "hinge": (REAL, FAKE, 1.5, 0.5),
    "minimax": ([LOG3, 0.0], [-LOG3], -0.5 * math.log(0.75 * 0.5) - math.log(0.75), math.log(0.75)),
    "non-saturating": (
        [LOG3, 0.0],
        [-LOG3],
        -0.5 * math.log(0.75 * 0.5) - math.log(0.75),
        -math.log(0.25),
    ),
}
BY_HAND["gan-gp"] = BY_HAND["non-saturating"]


@every_loss
def test_the_losses_by_hand(loss: str) -> None:
    real, fake, discriminator, generator = BY_HAND[loss]
    assert LOSSES[loss].discriminator(Tensor(real), Tensor(fake)).item() == close(
        discriminator, 1e-6
    )
    assert LOSSES[loss].generator(Tensor(fake)).item() == close(generator, 1e-6)


@every_loss
@pytest.mark.filterwarnings("error")
def test_huge_numbers_have_finite_losses_and_slopes(loss: str) -> None:
    x = Tensor([-1e4, 1e4], requires_grad=True)
    losses = [LOSSES[loss].discriminator(x, x), LOSSES[loss].generator(x)]
    for y in losses:
        assert math.isfinite(y.item()) and np.isfinite(T.grad(y, x)[0].numpy()).all()
    if loss in ("non-saturating", "gan-gp"):
        assert [y.item() for y in losses] == close([1e4, 5e3])


# The gradient penalty


def batches(n: int, *shape: int, seed: int = 0) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [Tensor(rng.normal(size=(n, *shape))) for _ in range(2)]


def linear(w: np.ndarray) -> Callable[[Tensor], Tensor]:
    return lambda x: x.reshape(len(x), -1) @ Tensor(w)


@given(k=st.floats(0.1, 10), seed=seeds, shape=st.sampled_from([(3,), (1, 2, 2)]))
def test_the_penalty_of_a_linear_critic_of_slope_k_is_k_minus_1_squared(
    k: float, seed: int, shape: tuple
) -> None:
    w = np.random.default_rng(seed).normal(size=math.prod(shape))
    unit = w / np.linalg.norm(w)
    assert gradient_penalty(linear(k * unit), *batches(4, *shape)).item() == close((k - 1) ** 2)
    assert gradient_penalty(linear(unit), *batches(4, *shape)).item() == close(0.0, 1e-15)


def test_the_penalty_is_the_mean_over_the_batch() -> None:
    """Of d(x) = s x with another slope s for each item."""
    slopes = np.array([[1.0], [3.0], [-4.0]])
    assert gradient_penalty(lambda x: Tensor(slopes) * x, *batches(3, 1)).item() == close(
        (0 + 4 + 9) / 3
    )


def test_a_critic_without_slope_has_a_penalty_that_can_be_differentiated() -> None:
    w = leaf(np.zeros((3, 1)))
    penalty = gradient_penalty(lambda x: x @ w, *batches(4, 3))
    assert penalty.item() == close(1.0, 1e-5) and np.isfinite(T.grad(penalty, w)[0].numpy()).all()


def test_the_slope_is_taken_at_uniform_points_between_data_and_samples() -> None:
    asked = []

    def critic(x: Tensor) -> Tensor:
        asked.append(x.numpy())
        return x.sum((1, 2, 3))

    real, fake = batches(400, 1, 2, 2)
    gradient_penalty(critic, real, fake, np.random.default_rng(0))
    (x,) = asked
    u = (x - fake.numpy()) / (real.numpy() - fake.numpy())
    assert u.reshape(400, 4) == close(np.repeat(u[:, 0, 0, :1], 4, 1), 1e-6)
    u = np.sort(u[:, 0, 0, 0])
    assert 0 < u[0] and u[-1] < 1 and abs(u - np.linspace(0, 1, 400)).max() < 1.63 / math.sqrt(400)


def test_real_and_fake_have_one_shape() -> None:
    with pytest.raises(
        ValueError,
        match=re.escape("gradient_penalty: real (4, 3) and fake (1, 3) must have one shape"),
    ):
        gradient_penalty(linear(np.ones(3)), batches(4, 3)[0], batches(1, 3)[0])


NORMS: dict[str, Callable[[], nn.Module]] = {
    "group": lambda: nn.GroupNorm(2, 4),
    "instance": lambda: nn.InstanceNorm2d(4, affine=True),
    "layer": lambda: nn.LayerNorm((4, 2, 2)),
}


def critic_with(norm: str) -> nn.Sequential:
    """A small critic of images (N, 1, 4, 4), all of its parameters away from where they start."""
    T.manual_seed(0)
    layers = [
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        NORMS[norm](),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(16, 1),
    ]
    critic = nn.Sequential(*layers).to("float64")
    rng = np.random.default_rng(1)
    for p in critic.parameters():
        p.copy_(p.numpy() + rng.normal(scale=0.3, size=p.shape))
    return critic


def slope_along(f: Callable[[float], Any], h: float = 1e-4) -> Any:
    """f'(0) by a fourth-order difference."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


@pytest.mark.parametrize("norm", NORMS)
def test_the_penalty_agrees_with_finite_differences(norm: str) -> None:
    critic, (real, fake), asked = critic_with(norm), batches(3, 1, 4, 4), []
    penalty = gradient_penalty(lambda x: asked.append(x.numpy()) or critic(x), real, fake)
    (x,) = asked
    slopes = []
    for pixel in np.eye(16).reshape(16, 1, 4, 4):
        slopes.append(
            slope_along(lambda h, pixel=pixel: critic(Tensor(x + h * pixel)).numpy()[:, 0])
        )
    assert penalty.item() == close(np.mean((np.linalg.norm(slopes, axis=0) - 1) ** 2), 1e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_the_gradient_of_the_penalty_agrees_with_finite_differences(norm: str) -> None:
    """By every parameter of the critic, along a random direction."""
    critic, (real, fake) = critic_with(norm), batches(3, 1, 4, 4)

    def penalty() -> Tensor:
        return gradient_penalty(critic, real, fake, np.random.default_rng(2))

    def penalty_with(p: Tensor, values: np.ndarray) -> float:
        p.copy_(values)
        return penalty().item()

    parameters = dict(critic.named_parameters())
    gradients = T.grad(penalty(), list(parameters.values()), allow_unused=True)
    for (name, p), g in zip(parameters.items(), gradients, strict=True):
        here, v = p.numpy(), np.random.default_rng(3).normal(size=p.shape)
        expected = slope_along(lambda h, p=p, here=here, v=v: penalty_with(p, here + h * v))
        p.copy_(here)
        assert (0.0 if g is None else (g.numpy() * v).sum()) == close(expected, 1e-7), name
        assert name in ("0.bias", "4.bias") or abs(expected) > 1e-3


# Clipping


@given(
    w=hnp.arrays(np.float64, (1, 5), elements=st.floats(-3, 3)),
    x=hnp.arrays(np.float64, (2, 5), elements=st.floats(-5, 5)),
)
def test_a_clipped_linear_critic_of_D_inputs_rises_by_at_most_limit_sqrt_D(
    w: np.ndarray, x: np.ndarray
) -> None:
    """Which is 1 for a limit of 1 / sqrt(D): the critic is 1-Lipschitz."""
    critic, limit = nn.Linear(5, 1).to("float64"), 1 / math.sqrt(5)
    critic.weight.copy_(w)
    clip_weights(critic.parameters(), limit)
    assert (
        np.array_equal(critic.weight.numpy(), np.clip(w, -limit, limit))
        and abs(critic.bias.numpy()).max() <= limit
    )
    a, b = critic(Tensor(x)).numpy()
    assert abs(a - b).max() <= np.linalg.norm(x[0] - x[1]) + 1e-12
    assert all(p.is_leaf and p.requires_grad for p in critic.parameters())


# The game, on a line: data at 3, samples G(z) = 0.1 z - 3, a discriminator d(x) = 0.1 x + 0.5

DATA = Tensor(np.full((8, 1), 3.0))


def game(loss: str) -> GAN:
    gan = GAN(nn.Linear(1, 1), nn.Linear(1, 1), 1, loss).to("float64")
    for player, slope, shift in ((gan.generator, 0.1, -3.0), (gan.discriminator, 0.1, 0.5)):
        player.weight.copy_([[slope]])
        player.bias.copy_([shift])
    return gan


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def players_losses(gan: GAN) -> np.ndarray:
    return np.array(
        [gan.discriminator_loss(DATA, rng=rng()).item(), gan.generator_loss(8, rng=rng()).item()]
    )


@every_loss
def test_a_step_of_one_player_is_a_gain_for_it_and_a_loss_for_the_other(loss: str) -> None:
    gan = game(loss)
    before, samples, gap = players_losses(gan), gan.generate(8, rng=rng()), 0.1 * 6
    optimizer = nn.SGD(gan.discriminator.parameters(), 1e-3)
    gan.discriminator_loss(DATA, rng=rng()).backward()
    optimizer.step()
    own, others = players_losses(gan) - before
    assert own < 0 < others
    assert (gan.judge(DATA) - gan.judge(samples)).mean().item() > gap

    gan = game(loss)
    optimizer = nn.SGD(gan.generator.parameters(), 1e-3)
    gan.generator_loss(8, rng=rng()).backward(inputs=gan.generator.parameters())
    optimizer.step()
    others, own = players_losses(gan) - before
    assert own < 0 < others
    assert (gan.generate(8, rng=rng()).numpy() > samples.numpy()).all()


@every_loss
def test_samples_are_constants_to_the_discriminator_and_not_to_the_generator(loss: str) -> None:
    gan = game(loss)
    gan.discriminator_loss(DATA).backward()
    assert all(p.grad is None for p in gan.generator.parameters())
    assert all(p.grad is not None for p in gan.discriminator.parameters())
    gan.generator_loss(8).backward()
    assert all(p.grad is not None and p.grad.numpy().all() for p in gan.generator.parameters())


@every_loss
def test_the_discriminator_loss_is_of_as_many_samples_and_only_some_losses_have_a_penalty(
    loss: str,
) -> None:
    """(0.1 - 1)^2 for a slope of 0.1."""
    gan = game(loss)
    fake = gan.generate(8, rng=rng())
    expected = LOSSES[loss].discriminator(gan.judge(DATA), gan.judge(fake)).item()
    for penalty in (0.0, 10.0):
        found = gan.discriminator_loss(DATA, rng=rng(), penalty=penalty).item()
        assert found == close(expected + penalty * 0.81 * (loss in PENALISED))
    assert gan.generator_loss(8, rng=rng()).item() == close(
        LOSSES[loss].generator(gan.judge(fake)).item()
    )


def test_noise_is_standard_normal_and_follows_its_seed() -> None:
    gan = GAN(nn.Linear(2, 2, bias=False), nn.Linear(2, 1), 2, "hinge")
    gan.generator.weight.copy_(np.eye(2))
    z, same, other = (
        gan.generate(5000, rng=np.random.default_rng(seed)).numpy() for seed in (0, 0, 1)
    )
    assert np.array_equal(z, same) and not np.array_equal(z, other) and z.dtype == np.float32
    assert abs(z.mean(0)).max() < 5 / math.sqrt(5000) and np.cov(z.T) == pytest.approx(
        np.eye(2), abs=5 * math.sqrt(2 / 5000)
    )


def test_losses_have_names() -> None:
    with pytest.raises(
        ValueError,
        match="GAN: loss must be one of minimax, non-saturating, .*, got 'cross-entropy'",
    ):
        GAN(nn.Flatten(), nn.Flatten(), 2, "cross-entropy")


# Labels


class Seen(nn.Module):
    """A network that remembers what it was shown."""

    def __init__(self, network: nn.Module):
        self.network, self.inputs = network, []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x.numpy())
        return self.network(x)


def conditional(loss: str = "wgan-gp") -> GAN:
    T.manual_seed(0)
    generator, discriminator = (
        dcgan_generator(2 + 3, (1, 4, 4), 4),
        dcgan_discriminator((1 + 3, 4, 4), 4, norm=False),
    )
    return GAN(Seen(generator), Seen(discriminator), 2, loss, classes=3).to("float64")


def greys(n: int) -> Tensor:
    return Tensor(np.random.default_rng(0).uniform(-1, 1, (n, 1, 4, 4)))


def test_both_players_see_the_labels_of_all_that_they_judge_or_make() -> None:
    gan, labels = conditional(), np.array([2, 0, 1, 1])
    gan.discriminator_loss(greys(4), labels)
    gan.generator_loss(4, labels)
    made, judged = gan.generator.inputs, gan.discriminator.inputs
    assert (len(made), len(judged)) == (
        2,
        4,
    )  # the last of: data, samples, the points between them, samples
    for x in made:
        assert np.array_equal(x[:, 2:], np.eye(3)[labels])
    for x in judged:
        assert np.array_equal(
            x[:, 1:], np.broadcast_to(np.eye(3)[labels][:, :, None, None], (4, 3, 4, 4))
        )
    assert np.array_equal(judged[0][:, :1], greys(4).numpy())


def test_a_conditional_game_needs_labels() -> None:
    gan, x = conditional(), greys(2)
    calls: list[Callable] = [
        lambda: gan.discriminator_loss(x),
        lambda: gan.judge(x),
        lambda: gan.generator_loss(2),
    ]
    for call in [*calls, lambda: gan.generate(2)]:
        with pytest.raises(ValueError, match="this model is conditional: it needs labels"):
            call()


# The networks


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 12)])
@pytest.mark.parametrize("norm", [True, False])
def test_dcgans_make_images_and_judge_them(shape: tuple[int, int, int], norm: bool) -> None:
    gan = GAN(dcgan_generator(5, shape, 8), dcgan_discriminator(shape, 8, norm), 5, "hinge")
    last = gan.generator[-2].weight
    last.copy_(100 * last.numpy())
    x = gan.generate(7)
    assert x.shape == (7, *shape) and x.dtype == np.float32 and 0.9 < abs(x.numpy()).max() <= 1
    assert gan.discriminator(x).shape == (7, 1) and gan.judge(x).shape == (7,)
    alone, together = gan.judge(x[:2]).numpy(), gan.judge(x).numpy()[:2]
    assert np.allclose(alone, together, rtol=1e-4, atol=1e-7) == (not norm)


def test_mlps_make_points_and_judge_them() -> None:
    gan = GAN(mlp_generator(5, 2), mlp_discriminator(2), 5, "hinge")
    x = gan.generate(7)
    assert x.shape == (7, 2) and gan.discriminator(x).shape == (7, 1) and gan.judge(x).shape == (7,)


def test_fourier_features_are_sines_and_cosines_of_one_projection() -> None:
    """Tancik et al. 2020 eq. 5: (cos 2 pi b x, sin 2 pi b x) for b ~ N(0, sigma^2), whose kernel is
    eq. 6, for this b on average exp(-(2 pi sigma)^2 |x - y|^2 / 2)."""
    T.manual_seed(0)
    sigma = 0.24
    features = FourierFeatures(2, 20_000, std=2 * math.pi * sigma)
    x = Tensor([[0.3, -0.2], [0.5, 0.4]], requires_grad=True)
    y = features(x)
    assert y.shape == (2, 40_000) and np.allclose(
        y.numpy()[:, :20_000] ** 2 + y.numpy()[:, 20_000:] ** 2, 1, atol=1e-6
    )
    product = y.numpy()[0] @ y.numpy()[1] / 20_000
    kernel = math.exp(-((2 * math.pi * sigma) ** 2) * 0.4 / 2)
    assert product == pytest.approx(kernel, abs=5 / math.sqrt(20_000))
    assert list(features.state_dict()) == ["B"] and not list(features.parameters())


def test_dcgan_weights_have_the_deviation_of_the_paper() -> None:
    """0.02, around 0 in the paper, and around 1 for scales of batch norm in its code."""
    T.manual_seed(0)
    scales = 0
    for network in (dcgan_generator(16, (1, 8, 8)), dcgan_discriminator((1, 8, 8))):
        for name, p in network.named_parameters():
            if not name.endswith("weight"):
                continue
            w, n = p.numpy(), p.numel()
            scales += p.ndim == 1
            assert abs(w.mean() - (p.ndim == 1)) < 5 * 0.02 / math.sqrt(n), name
            assert w.std() == pytest.approx(0.02, rel=5 / math.sqrt(2 * n)), name
    assert scales == 3


@pytest.mark.parametrize("shape", [(1, 6, 8), (1, 8, 10)])
def test_images_that_cannot_be_halved_twice_are_refused(shape: tuple[int, int, int]) -> None:
    for make in (lambda: dcgan_generator(2, shape), lambda: dcgan_discriminator(shape)):
        with pytest.raises(ValueError, match=re.escape(f"{shape} must have sides divisible by 4")):
            make()


@every_loss
def test_a_gan_computes_the_same_on_every_device(device: str, loss: str) -> None:
    labels, results = np.array([0, 2, 1]), []
    for where in ("cpu", device):
        gan = conditional(loss).to(where)
        losses = [
            gan.discriminator_loss(greys(3).to(where), labels, rng()),
            gan.generator_loss(3, labels, rng()),
        ]
        gradients = [
            T.grad(y, list(part.parameters()))
            for y, part in zip(losses, (gan.discriminator, gan.generator))
        ]
        results.append([y.to("cpu").numpy() for y in [*losses, *gradients[0], *gradients[1]]])
    for a, b in zip(*results, strict=True):
        assert a == close(b)
