"""The measured work, done by minigen. Each function takes a device and returns what is to be
timed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import nn
import tensor as T
from minigen.models.ddpm import Diffusion, beta_schedule
from minigen.networks.unet import UNet
from tensor import Tensor
from tests.benchmarks.work import Work, multiply_and_differentiate


def _leaf(*shape: int, device: str) -> Tensor:
    return T.randn(shape, device=device, requires_grad=True)


def _forward_and_backward(f: Callable[..., Tensor], *inputs: Tensor) -> Work:
    N, C, H, W = f(*inputs).shape
    g = _image(N, C, H, inputs[0].device).detach()
    return lambda: T.grad(f(*inputs), inputs, g)


def _image(N: int, C: int, size: int, device: str) -> Tensor:
    """In the memory order in which all ops leave images."""
    return Tensor(
        T.randn(N, size, size, C, device=device).data.transpose(0, 3, 1, 2), requires_grad=True
    )


def conv(device: str, N: int, C: int, size: int, O: int) -> Work:
    x, w, b = _image(N, C, size, device), _leaf(O, C, 3, 3, device=device), _leaf(O, device=device)
    return _forward_and_backward(lambda x, w, b: T.conv2d(x, w, b, padding=1), x, w, b)


def conv_transpose(device: str, N: int, C: int, size: int, O: int) -> Work:
    x, w, b = _image(N, C, size, device), _leaf(C, O, 4, 4, device=device), _leaf(O, device=device)
    return _forward_and_backward(lambda x, w, b: T.conv_transpose2d(x, w, b, 2, 1), x, w, b)


def norm_silu(device: str, N: int, C: int, size: int) -> Work:
    x, w, b = _image(N, C, size, device), _leaf(C, device=device), _leaf(C, device=device)
    return _forward_and_backward(lambda x, w, b: T.group_norm(x, 8, w, b, silu=True), x, w, b)


def multiplications(device: str, count: int, both: bool) -> Work:
    x, factor = _leaf(device=device), T.ones(device=device, requires_grad=both)
    return multiply_and_differentiate(x, factor, count)


class Training:
    """The U-Net in training on given draws."""

    def __init__(self, image_channels: int, channels: tuple[int, ...], device: str):
        T.manual_seed(0)
        self.device = device
        self.model = UNet(image_channels, channels).to(device)
        self.optimizer = nn.Adam(self.model.parameters(), 1e-3)
        self.diffusion = Diffusion(beta_schedule("cosine", 200))

    def step(self, x0: np.ndarray, t: np.ndarray, noise: np.ndarray) -> float:
        x0, noise = Tensor(x0, device=self.device), Tensor(noise, device=self.device)
        loss = self.diffusion.loss(self.model, x0, t, noise)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
