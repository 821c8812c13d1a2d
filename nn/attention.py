"""Self-attention over the pixels of an image."""

from __future__ import annotations

import math

import tensor as T
from nn.checks import check_groups, check_sizes
from nn.layers import Linear
from nn.module import Module
from tensor import Tensor


class SelfAttention2d(Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017 eq. 1) of images (N, C, H, W).

    Each pixel is a token: softmax(Q K^T / sqrt(d)) V for each of `num_heads` heads of d = C /
    num_heads channels, then a linear map of all heads. Raises ValueError unless heads divide C.
    """

    def __init__(self, channels: int, num_heads: int = 1):
        check_sizes("SelfAttention2d", channels=channels, num_heads=num_heads)
        check_groups("SelfAttention2d", num_heads, channels, name="heads")
        self.channels, self.num_heads = channels, num_heads
        self.qkv = Linear(channels, 3 * channels)
        self.out = Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.channels:
            expected = f"(N, {self.channels}, H, W)"
            raise ValueError(f"SelfAttention2d: expected x {expected}, got {x.shape}")
        N, C, H, W = x.shape
        d = C // self.num_heads
        tokens = x.permute(0, 2, 3, 1).reshape(N, H * W, C)
        qkv = self.qkv(tokens).reshape(N, H * W, 3, self.num_heads, d).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]  # (N, heads, H W, d)
        weights = T.softmax(q @ k.transpose(-1, -2) / math.sqrt(d), -1)  # (N, heads, H W, H W)
        mixed = (weights @ v).permute(0, 2, 1, 3).reshape(N, H * W, C)
        return self.out(mixed).reshape(N, H, W, C).permute(0, 3, 1, 2)
