"""The measured work, done by PyTorch in eager mode. Each function takes a device and returns what
is to be timed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tensor as T
from minigen.models.cyclegan import ImagePool
from minigen.models.ddpm import beta_schedule
from minigen.recipes.cyclegan import CycleGANRecipe
from minigen.recipes.gan import GANRecipe
from minigen.recipes.vae import VAERecipe
from nn import schedules
from tests.benchmarks import twin
from tests.benchmarks.work import Work, multiply_and_differentiate

torch.manual_seed(0)


def memory_format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _leaf(*shape: int, device: str) -> Tensor:
    x = torch.randn(shape, device=device)
    return x.requires_grad_()


def _forward_and_backward(f: Callable[..., Tensor], *inputs: Tensor) -> Work:
    g = torch.randn_like(f(*inputs))
    return lambda: torch.autograd.grad(f(*inputs), inputs, g)


def _image(*shape: int, device: str, channels_last: bool) -> Tensor:
    x = torch.randn(shape, device=device)
    return x.contiguous(memory_format=memory_format(channels_last)).requires_grad_()


def conv(device: str, N: int, C: int, size: int, O: int, channels_last: bool) -> Work:
    x = _image(N, C, size, size, device=device, channels_last=channels_last)
    w = _image(O, C, 3, 3, device=device, channels_last=channels_last)
    return _forward_and_backward(
        lambda x, w, b: F.conv2d(x, w, b, padding=1), x, w, _leaf(O, device=device)
    )


def conv_transpose(device: str, N: int, C: int, size: int, O: int, channels_last: bool) -> Work:
    x = _image(N, C, size, size, device=device, channels_last=channels_last)
    w = _image(C, O, 4, 4, device=device, channels_last=channels_last)
    return _forward_and_backward(
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1), x, w, _leaf(O, device=device)
    )


def norm_silu(device: str, N: int, C: int, size: int, channels_last: bool) -> Work:
    x = _image(N, C, size, size, device=device, channels_last=channels_last)
    leaves = _leaf(C, device=device), _leaf(C, device=device)
    return _forward_and_backward(lambda x, w, b: F.silu(F.group_norm(x, 8, w, b)), x, *leaves)


def multiplications(device: str, count: int, both: bool, channels_last: bool) -> Work:
    x, factor = _leaf(device=device), torch.ones((), device=device, requires_grad=both)
    return multiply_and_differentiate(x, factor, count)


class Training:
    """The twin of `ours.Training`."""

    def __init__(
        self, image_channels: int, channels: tuple[int, ...], device: str, channels_last: bool
    ):
        self.device, self.format = device, memory_format(channels_last)
        self.model = twin.UNet(image_channels, channels).to(
            device=device, memory_format=self.format
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        alpha_bar = np.cumprod(1 - beta_schedule("cosine", 200))
        self.signal, self.noise = (
            torch.tensor(a, dtype=torch.float32) for a in (alpha_bar**0.5, (1 - alpha_bar) ** 0.5)
        )

    def take_weights(self, state: Mapping[str, np.ndarray]) -> None:
        self.model.load_state_dict({name: torch.tensor(array) for name, array in state.items()})

    def step(self, x0: np.ndarray, t: np.ndarray, noise: np.ndarray) -> float:
        index, eps = torch.tensor(t), torch.tensor(noise, device=self.device)
        signal, spread = (
            a[index - 1].to(self.device)[:, None, None, None] for a in (self.signal, self.noise)
        )
        xt = signal * torch.tensor(x0, device=self.device) + spread * eps
        predicted = self.model(xt.contiguous(memory_format=self.format), index.to(self.device))
        loss = F.mse_loss(predicted, eps)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


@torch.no_grad()
def ddpm_bound(
    network: nn.Module, x0: Tensor, beta: Tensor, levels: int, rng: np.random.Generator
) -> Tensor:
    """L_0..L_T of each image (DDPM eq. 5, sigma^2 = beta, x_0 clipped), by torch.distributions:
    float64 (T + 1, N), in nats."""
    T, normal = len(beta), torch.distributions.Normal
    alpha_bar = torch.cumprod(1 - beta, 0)
    before = torch.cat([torch.ones(1, dtype=beta.dtype), alpha_bar[:-1]])
    terms = []
    for t in range(1, T + 1):
        b, a_t, a_s = beta[t - 1], alpha_bar[t - 1], before[t - 1]
        xt = a_t.sqrt() * x0 + (1 - a_t).sqrt() * torch.tensor(rng.standard_normal(x0.shape, "f"))
        eps = network(xt.float(), torch.full((len(x0),), t)).double()
        seen = ((xt - (1 - a_t).sqrt() * eps) / a_t.sqrt()).clamp(-1, 1)
        if t == 1:
            q, half = normal(seen, b.sqrt()), 1 / (levels - 1)
            above = torch.where(x0 > 1 - half, 1.0, q.cdf(x0 + half))
            below = torch.where(x0 < half - 1, 0.0, q.cdf(x0 - half))
            nats = -torch.log((above - below).clamp(min=1e-300))
        else:
            of_x0 = a_s.sqrt() * b / (1 - a_t)
            of_xt = (1 - b).sqrt() * (1 - a_s) / (1 - a_t)
            true = normal(of_x0 * x0 + of_xt * xt, ((1 - a_s) / (1 - a_t) * b).sqrt())
            nats = torch.distributions.kl_divergence(
                true, normal(of_x0 * seen + of_xt * xt, b.sqrt())
            )
        terms.append(nats.flatten(1).sum(1))
    last = normal(alpha_bar[-1].sqrt() * x0, (1 - alpha_bar[-1]).sqrt())
    prior = torch.distributions.kl_divergence(last, normal(0.0, 1.0))
    return torch.stack([*terms, prior.flatten(1).sum(1)])


class Twin:
    """The twin of a new recipe: its weights, batches, noise, learning rates, and average of
    weights.

    Each twin adds `update`, which moves the weights once and returns the losses. Images take on the
    memory order of the kernels that they meet.
    """

    def __init__(
        self, mine: Any, model: Any, networks: dict[str, nn.Module], channels_last: bool = False
    ):
        self.mine, self.model, self.rng = mine, model, np.random.default_rng(mine.settings.seed)
        state = mine.model.state_dict()
        self.dtype = next(iter(state.values())).dtype
        model.to(
            mine.settings.device,
            getattr(torch, str(self.dtype)),
            memory_format=memory_format(channels_last),
        )
        model.load_state_dict({name: torch.tensor(x.numpy()) for name, x in state.items()})
        self.learners = {name: getattr(mine, name) for name in networks}
        self.optimizers = {
            name: torch.optim.Adam(networks[name].parameters(), learner.lr, learner.optimizer.betas)
            for name, learner in self.learners.items()
        }
        ((self.decay, self.network),) = (
            (learner.average.decay, networks[name])
            for name, learner in self.learners.items()
            if learner.average
        )
        self.average = copy.deepcopy(self.network)

    def update(self, k: int) -> dict[str, Tensor]:
        raise NotImplementedError

    def step(self, k: int) -> dict[str, float]:
        losses = self.update(k)
        decay = min(self.decay, (1 + k) / (10 + k))
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self.network.parameters()):
                average.lerp_(weight, 1 - decay)
        return {name: loss.item() for name, loss in losses.items()}

    def tensor(self, x: np.ndarray) -> Tensor:
        return torch.tensor(x, device=self.mine.settings.device)

    def batch(self, images: np.ndarray) -> Tensor:
        return self.tensor(
            images[self.rng.integers(len(images), size=self.mine.settings.batch_size)]
        )

    def noise(self, n: int, rng: np.random.Generator) -> Tensor:
        return self.tensor(rng.standard_normal((n, self.mine.settings.latent), self.dtype))

    def descend(self, name: str, loss: Tensor, k: int) -> None:
        learner, optimizer = self.learners[name], self.optimizers[name]
        (group,) = optimizer.param_groups
        optimizer.zero_grad()
        loss.backward(inputs=group["params"])
        group["lr"] = learner.lr * learner.schedule(k)
        optimizer.step()


class VAETwin(Twin):
    """Of a `VAERecipe` with dense networks and Bernoulli pixels."""

    def __init__(self, mine: VAERecipe, channels_last: bool = False):
        model = twin.VAE(mine.settings.about.shape, mine.settings.latent)
        super().__init__(mine, model, {"learner": model}, channels_last)

    def update(self, k: int) -> dict[str, Tensor]:
        x = self.batch(self.mine.data.train)
        loss = self.model.negative_elbo(x, self.noise(len(x), self.rng))
        self.descend("learner", loss, k)
        return {"loss": loss}

    @torch.no_grad()
    def test_elbo(self, seed: int) -> float:
        x = self.tensor(self.mine.data.test)
        return -self.average.negative_elbo(
            x, self.noise(len(x), np.random.default_rng(seed))
        ).item()


class GANTwin(Twin):
    """Of a `GANRecipe` with one step of the discriminator for one of the generator, and the loss
    non-saturating or wgan-gp."""

    def __init__(self, mine: GANRecipe, channels_last: bool = False):
        self.wasserstein = mine.settings.loss == "wgan-gp"
        shape = mine.settings.about.shape
        model = twin.GAN(shape, mine.settings.latent, norm=not self.wasserstein)
        networks = {"G_learner": model.generator, "D_learner": model.discriminator}
        super().__init__(mine, model, networks, channels_last)

    def update(self, k: int) -> dict[str, Tensor]:
        judge, x = self.model.discriminator, self.batch(self.mine.data.train)
        with torch.no_grad():
            fake = self.model.generator(self.noise(len(x), self.rng))
        discriminator = self.discriminator_loss(judge(x), judge(fake))
        if self.wasserstein:
            discriminator = discriminator + self.mine.settings.penalty * self.gradient_penalty(
                x, fake
            )
        self.descend("D_learner", discriminator, k)
        judged = judge(self.model.generator(self.noise(len(x), self.rng)))
        generator = -judged.mean() if self.wasserstein else F.softplus(-judged).mean()
        self.descend("G_learner", generator, k)
        return {"discriminator": discriminator, "generator": generator}

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (
            fake.mean() - real.mean()
            if self.wasserstein
            else F.softplus(-real).mean() + F.softplus(fake).mean()
        )

    def gradient_penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        share = self.tensor(self.rng.random((len(real), *[1] * (real.ndim - 1)), self.dtype))
        between = torch.lerp(fake, real, share).requires_grad_()
        (slope,) = torch.autograd.grad(
            self.model.discriminator(between).sum(), between, create_graph=True
        )
        return ((slope.flatten(1).square().sum(1) + 1e-12).sqrt() - 1).square().mean()


class CycleGANTwin(Twin):
    """Of a `CycleGANRecipe` without identity losses."""

    def __init__(self, mine: CycleGANRecipe, channels_last: bool = False):
        model = twin.CycleGAN(mine.settings.width, mine.settings.blocks)
        networks = {
            "G_learner": nn.Sequential(model.G, model.F),
            "D_learner": nn.Sequential(model.D_X, model.D_Y),
        }
        super().__init__(mine, model, networks, channels_last)
        self.pool_x, self.pool_y = (
            ImagePool((3, mine.settings.size, mine.settings.size)) for _ in range(2)
        )

    def update(self, k: int) -> dict[str, Tensor]:
        G, F, D_X, D_Y = self.model.G, self.model.F, self.model.D_X, self.model.D_Y
        x, y = self.batch(self.mine.data.train_x), self.batch(self.mine.data.train_y)
        fake_x, fake_y = F(y), G(x)
        adversarial = (
            0.5 * (D_Y(fake_y) - 1).square().mean() + 0.5 * (D_X(fake_x) - 1).square().mean()
        )
        cycle = (F(fake_y) - x).abs().mean() + (G(fake_x) - y).abs().mean()
        weight = self.mine.settings.cycle * schedules.warmup(k - 1, self.mine.settings.cycle_warmup)
        generators = adversarial + weight * cycle
        self.descend("G_learner", generators, k)
        of_X = self.discriminator_loss(D_X, x, self.from_pool(self.pool_x, fake_x))
        of_Y = self.discriminator_loss(D_Y, y, self.from_pool(self.pool_y, fake_y))
        self.descend("D_learner", of_X + of_Y, k)
        return {"discriminators": of_X + of_Y, "generators": generators}

    def from_pool(self, pool: ImagePool, images: Tensor) -> Tensor:
        return self.tensor(pool.query(T.Tensor(images.detach().cpu().numpy()), self.rng).numpy())

    def discriminator_loss(self, judge: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (judge(real) - 1).square().mean() + 0.5 * judge(fake).square().mean()


def twin_of(mine: Any, channels_last: bool = False) -> Twin:
    """Of the kind that belongs to the recipe."""
    twins = {VAERecipe: VAETwin, GANRecipe: GANTwin, CycleGANRecipe: CycleGANTwin}
    return next(twin for recipe, twin in twins.items() if isinstance(mine, recipe))(
        mine, channels_last
    )
