"""Networks of minigen written again in PyTorch: same layers, same names, so that weights carry over
by key."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels, max(1, channels // 4)), channels)


class TimeMLP(nn.Module):
    def __init__(self, dim: int, out_features: int):
        super().__init__()
        self.dim = dim
        self.inner, self.outer = nn.Linear(dim, out_features), nn.Linear(out_features, out_features)

    def forward(self, t: Tensor) -> Tensor:
        frequencies = 10_000.0 ** (-torch.arange(self.dim // 2, device=t.device) / (self.dim // 2))
        angles = t[:, None] * frequencies
        return F.silu(self.outer(F.silu(self.inner(torch.cat([angles.sin(), angles.cos()], 1)))))


class ResBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, time_features: int):
        super().__init__()
        self.norm1, self.conv1 = (
            norm(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
        )
        self.time = nn.Linear(time_features, out_channels)
        self.norm2, self.conv2 = (
            norm(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(time)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.skip is None else self.skip(x))


class SelfAttention2d(nn.Module):
    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        N, C, H, W = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(N, H * W, C)
        q, k, v = self.qkv(tokens).reshape(N, H * W, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1)
        mixed = (weights @ v).permute(0, 2, 1, 3).reshape(N, H * W, C)
        return self.out(mixed).reshape(N, H, W, C).permute(0, 3, 1, 2)


class AttentionBlock(nn.Module):
    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        self.norm, self.attention = norm(channels), SelfAttention2d(channels, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm(x))


class UNet(nn.Module):
    def __init__(self, image_channels: int, channels: Sequence[int], num_heads: int = 2):
        super().__init__()
        first, last = channels[0], channels[-1]
        time = 4 * first
        self.time = TimeMLP(first, time)
        self.stem = nn.Conv2d(image_channels, first, 3, padding=1)
        self.down = nn.ModuleList(
            ResBlock(a, b, time) for a, b in zip([first, *channels], channels)
        )
        self.shrink = nn.ModuleList(nn.Conv2d(c, c, 3, stride=2, padding=1) for c in channels[:-1])
        self.middle = ResBlock(last, last, time)
        self.attention = AttentionBlock(last, math.gcd(num_heads, last))
        self.up = nn.ModuleList(ResBlock(2 * c, c, time) for c in reversed(channels))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 4, stride=2, padding=1)
            for a, b in zip(channels[-2::-1], channels[:0:-1])
        )
        self.norm, self.head = norm(first), nn.Conv2d(first, image_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time, h, skips = self.time(t), self.stem(x), []
        for level, block in enumerate(self.down):
            skips.append(h := block(h, time))
            h = self.shrink[level](h) if level < len(self.shrink) else h
        h = self.attention(self.middle(h, time))
        for level, block in enumerate(self.up):
            h = block(torch.cat([h, skips.pop()], 1), time)
            h = self.grow[level](h) if level < len(self.grow) else h
        return self.head(F.silu(self.norm(h)))


class VAE(nn.Module):
    def __init__(self, shape: tuple[int, int, int], latent: int, hidden: int = 256):
        super().__init__()
        pixels = math.prod(shape)
        self.encoder = nn.Sequential(nn.Flatten(), *dense(pixels, hidden, 2 * latent))
        self.decoder = nn.Sequential(*dense(latent, hidden, pixels), nn.Unflatten(1, shape))

    def negative_elbo(self, x: Tensor, noise: Tensor) -> Tensor:
        mu, log_var = self.encoder(x).chunk(2, 1)
        logits = self.decoder(mu + (0.5 * log_var).exp() * noise)
        reconstruction = F.binary_cross_entropy_with_logits(logits, 0.5 * (x + 1), reduction="sum")
        return (reconstruction + 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum()) / len(x)


def dense(features: int, hidden: int, out_features: int) -> list[nn.Module]:
    layers = nn.Linear(features, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out_features)
    return [layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2]]


class GAN(nn.Module):
    def __init__(self, shape: tuple[int, ...], latent: int, norm: bool):
        super().__init__()
        if len(shape) == 3:
            self.generator, self.discriminator = (
                dcgan_generator(latent, shape),
                dcgan_discriminator(shape, norm),
            )
        else:
            self.generator, self.discriminator = (
                mlp(latent, nn.ReLU(), *shape),
                mlp(*shape, nn.LeakyReLU(0.2), 1),
            )


def dcgan_generator(latent: int, shape: tuple[int, ...], width: int = 64) -> nn.Sequential:
    C, H, W = shape
    return nn.Sequential(
        nn.Linear(latent, 2 * width * (H // 4) * (W // 4), bias=False),
        nn.Unflatten(1, (2 * width, H // 4, W // 4)),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, C, 4, stride=2, padding=1),
        nn.Tanh(),
    )


def dcgan_discriminator(shape: tuple[int, ...], norm: bool, width: int = 64) -> nn.Sequential:
    C, H, W = shape
    return nn.Sequential(
        nn.Conv2d(C, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=not norm),
        *([nn.BatchNorm2d(2 * width)] if norm else []),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(2 * width * (H // 4) * (W // 4), 1),
    )


class FourierFeatures(nn.Module):
    B: Tensor

    def __init__(self, dim: int, features: int):
        super().__init__()
        self.register_buffer("B", torch.empty(dim, features))

    def forward(self, x: Tensor) -> Tensor:
        angles = x @ self.B
        return torch.cat([angles.sin(), angles.cos()], 1)


def mlp(dim: int, activation: nn.Module, out_features: int, hidden: int = 128) -> nn.Sequential:
    sizes = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out_features)
    return nn.Sequential(
        FourierFeatures(dim, hidden // 2), sizes[0], activation, sizes[1], activation, sizes[2]
    )


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.norm1 = (
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels),
        )
        self.conv2, self.norm2 = (
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))


class CycleGAN(nn.Module):
    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.G, self.F = resnet_generator(width, blocks), resnet_generator(width, blocks)
        self.D_X, self.D_Y = patch_discriminator(width), patch_discriminator(width)


def resnet_generator(width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.InstanceNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
        nn.InstanceNorm2d(2 * width),
        nn.ReLU(),
        *(ResidualBlock(2 * width) for _ in range(blocks)),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.InstanceNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 3, 3, padding=1),
        nn.Tanh(),
    )


def patch_discriminator(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, padding=1, bias=False),
        nn.InstanceNorm2d(2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 4, padding=1),
    )
