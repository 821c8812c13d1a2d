"""The measured work, done by PyTorch in eager mode. Each function takes a device and returns what is to be timed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minigen.ddpm import beta_schedule
from minigen.experiments.vae import VAERun
from nn import schedules
from tests.benchmarks.twin import VAE, UNet
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
    return _forward_and_backward(lambda x, w, b: F.conv2d(x, w, b, padding=1), x, w, _leaf(O, device=device))


def conv_transpose(device: str, N: int, C: int, size: int, O: int, channels_last: bool) -> Work:
    x = _image(N, C, size, size, device=device, channels_last=channels_last)
    w = _image(C, O, 4, 4, device=device, channels_last=channels_last)
    return _forward_and_backward(lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1), x, w, _leaf(O, device=device))


def norm_silu(device: str, N: int, C: int, size: int, channels_last: bool) -> Work:
    x = _image(N, C, size, size, device=device, channels_last=channels_last)
    leaves = _leaf(C, device=device), _leaf(C, device=device)
    return _forward_and_backward(lambda x, w, b: F.silu(F.group_norm(x, 8, w, b)), x, *leaves)


def multiplications(device: str, count: int, both: bool, channels_last: bool) -> Work:
    x, factor = _leaf(device=device), torch.ones((), device=device, requires_grad=both)
    return multiply_and_differentiate(x, factor, count)


class Training:
    """The twin of `ours.Training`."""

    def __init__(self, image_channels: int, channels: tuple[int, ...], device: str, channels_last: bool):
        self.device, self.format = device, memory_format(channels_last)
        self.model = UNet(image_channels, channels).to(device=device, memory_format=self.format)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        alpha_bar = np.cumprod(1 - beta_schedule("cosine", 200))
        self.signal, self.noise = (torch.tensor(a, dtype=torch.float32) for a in (alpha_bar**0.5, (1 - alpha_bar) ** 0.5))

    def take_weights(self, state: Mapping[str, np.ndarray]) -> None:
        self.model.load_state_dict({name: torch.tensor(array) for name, array in state.items()})

    def step(self, x0: np.ndarray, t: np.ndarray, noise: np.ndarray) -> float:
        index, eps = torch.tensor(t), torch.tensor(noise, device=self.device)
        signal, spread = (a[index - 1].to(self.device)[:, None, None, None] for a in (self.signal, self.noise))
        xt = signal * torch.tensor(x0, device=self.device) + spread * eps
        predicted = self.model(xt.contiguous(memory_format=self.format), index.to(self.device))
        loss = F.mse_loss(predicted, eps)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


class VAETraining:
    """The twin of a new `VAERun` with dense coders and Bernoulli pixels: its weights, batches, noise, rates and average."""

    def __init__(self, mine: VAERun):
        self.mine, self.rng = mine, np.random.default_rng(mine.config.seed)
        self.model = VAE(mine.shape, mine.config.latent).to(mine.config.device)
        self.model.load_state_dict({name: torch.tensor(x.numpy()) for name, x in mine.model.state_dict().items()})
        self.average = copy.deepcopy(self.model)
        self.optimizer = torch.optim.Adam(self.model.parameters(), mine.config.lr, mine.betas)

    def _negative_elbo(self, model: VAE, x: np.ndarray, rng: np.random.Generator) -> Tensor:
        noise = rng.standard_normal((len(x), self.mine.config.latent), np.float32)
        return model.negative_elbo(*(torch.tensor(a, device=self.mine.config.device) for a in (x, noise)))

    def step(self, k: int) -> float:
        config, train = self.mine.config, self.mine.data.train
        loss = self._negative_elbo(self.model, train[self.rng.integers(len(train), size=config.batch_size)], self.rng)
        self.optimizer.zero_grad()
        loss.backward()
        rate = schedules.warmup(k - 1, self.mine.warmup_steps) * schedules.cosine(k - 1, config.steps)
        self.optimizer.param_groups[0]["lr"] = config.lr * rate
        self.optimizer.step()
        decay = min(self.mine.ema_decay, (1 + k) / (10 + k))
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self.model.parameters()):
                average.lerp_(weight, 1 - decay)
        return loss.item()

    @torch.no_grad()
    def test_elbo(self, seed: int) -> float:
        return -self._negative_elbo(self.average, self.mine.data.test, np.random.default_rng(seed)).item()
