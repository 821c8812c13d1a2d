"""The denoiser of images: eps(x_t, t) as a compact U-Net.

The U-Net (Ronneberger et al. 2015; residual blocks, group norm, attention and time as in Ho et al.
2020, appendix B, but with one block a level, and attention in the middle alone) halves the image as
it goes down and doubles it as it comes up; each level coming up also sees what the level going down
had. Every block sees the timestep.
"""

import math
from collections.abc import Sequence

import numpy as np

import nn
import tensor as T
from minigen.networks.labels import Labels
from tensor import Tensor


def timestep_embedding(t: np.ndarray, dim: int, max_period: float = 10_000.0) -> np.ndarray:
    """Timesteps (N,) as sines, then cosines: (N, dim) (Vaswani et al. 2017 sec. 3.5)."""
    frequencies = max_period ** (-np.arange(dim // 2) / (dim // 2))
    angles = np.asarray(t)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)


class TimeMLP(nn.Module):
    """Timesteps of N items to (N, out_features): the embedding through two dense layers."""

    def __init__(self, dim: int, out_features: int):
        if dim < 2 or dim % 2:
            raise ValueError(f"TimeMLP: expected an even number of dimensions, got {dim}")
        self.dim = dim
        self.inner = nn.Linear(dim, out_features)
        self.outer = nn.Linear(out_features, out_features)

    def forward(self, t: np.ndarray, N: int) -> Tensor:
        if np.shape(t) != (N,) or not N:
            got = f"{N} items and timesteps {np.shape(t)}"
            raise ValueError(f"TimeMLP: expected items and a timestep for each, got {got}")
        weight = self.inner.weight
        waves = timestep_embedding(t, self.dim)  # (N, dim)
        embedding = Tensor(waves, dtype=weight.dtype, device=weight.device)
        return T.silu(self.outer(T.silu(self.inner(embedding))))  # (N, out_features)


def norm(channels: int, silu: bool = True) -> nn.GroupNorm:
    """Group norm with gcd(8, channels, channels // 4) groups, one for under 4 channels; then SiLU.

    A group of one channel would lose what the time embedding adds to that channel.
    """
    return nn.GroupNorm(math.gcd(8, channels, max(1, channels // 4)), channels, silu=silu)


class ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + time))): in_channels to out_channels, size kept."""

    def __init__(self, in_channels: int, out_channels: int, time_features: int):
        self.norm1 = norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_features, out_channels)
        self.norm2 = norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(self.norm1(x))  # with SiLU: (N, out_channels, H, W)
        time = self.time(time)  # (N, out_channels)
        h = h + time.reshape(*time.shape, 1, 1)
        h = self.conv2(self.norm2(h))
        return h + (x if self.skip is None else self.skip(x))


class AttentionBlock(nn.Module):
    """x + attention(norm(x))"""

    def __init__(self, channels: int, num_heads: int):
        self.norm = norm(channels, silu=False)
        self.attention = nn.SelfAttention2d(channels, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm(x))  # (N, channels, H, W)


class UNet(nn.Module):
    """Noise prediction for images (N, image_channels, H, W), timesteps (N,), and maybe labels (N,).

    `channels` gives the width of each level; H and W must be divisible by 2 ** (levels - 1). A
    width of 1 is refused: group norm over it takes away what the time embedding adds. With
    `classes` it is told a label in 0..classes, of which the last says that there is none: an
    embedding of it is added to that of the timestep (Dhariwal & Nichol 2021, section 3).
    """

    def __init__(
        self, image_channels: int = 1, channels: Sequence[int] = (32, 64), num_heads: int = 2,
        classes: int = 0,
    ):  # fmt: skip
        if not channels or min(channels) < 2:
            rule = "channels must be one or more widths of at least 2"
            raise ValueError(f"UNet: {rule}, got {channels}")
        first, last = channels[0], channels[-1]
        time = 4 * first
        self.levels = len(channels)
        self.time = TimeMLP(first + first % 2, time)
        self.label = nn.Embedding(classes + 1, time) if classes else None
        self.stem = nn.Conv2d(image_channels, first, 3, padding=1)
        self.down = [ResBlock(a, b, time) for a, b in zip([first, *channels], channels)]
        self.shrink = [nn.Conv2d(c, c, 3, stride=2, padding=1) for c in channels[:-1]]
        self.middle = ResBlock(last, last, time)
        self.attention = AttentionBlock(last, math.gcd(num_heads, last))
        self.up = [ResBlock(2 * c, c, time) for c in reversed(channels)]
        pairs = zip(channels[-2::-1], channels[:0:-1])
        self.grow = [nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in pairs]
        self.norm, self.head = norm(first), nn.Conv2d(first, image_channels, 3, padding=1)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor, t: np.ndarray, labels: Labels = None) -> Tensor:
        if any(n % 2 ** (self.levels - 1) for n in x.shape[2:]):
            rule = f"must be multiples of {2 ** (self.levels - 1)}"
            sizes = f"height and width of {x.shape}"
            raise ValueError(f"UNet: with {self.levels} levels, {sizes} {rule}")
        if (labels is None) != (self.label is None):
            raise ValueError("UNet: labels are for a U-Net with classes, which needs them")
        time = self.time(t, len(x))  # (N, time)
        if self.label is not None:
            time = time + self.label(labels)
        h = self.stem(x)  # (N, channels[0], H, W)
        skips = []
        for level in range(self.levels):
            h = self.down[level](h, time)  # (N, channels[level], H / 2^level, W / 2^level)
            skips.append(h)
            if level < self.levels - 1:
                h = self.shrink[level](h)  # half as high, half as wide
        h = self.attention(self.middle(h, time))
        for level in range(self.levels):  # and up again, with as many channels as on the way down
            h = T.cat([h, skips.pop()], 1)  # twice the channels
            h = self.up[level](h, time)
            if level < self.levels - 1:
                h = self.grow[level](h)  # twice as high, twice as wide
        return self.head(self.norm(h))  # (N, image_channels, H, W)
