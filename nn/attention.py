"""Attention: of tokens to others, and of the pixels of an image to each other."""

from __future__ import annotations

import math

import numpy as np

import tensor as T
from nn import init
from nn.checks import accepts, check_groups, check_only, check_sizes
from nn.layers import Linear
from nn.module import Module, Parameter
from tensor import Tensor


def _attention(q: Tensor, k: Tensor, v: Tensor, ignored=None) -> tuple[Tensor, Tensor]:
    """softmax(Q K^T / sqrt(d)) V (Vaswani et al. 2017 eq. 1), and the softmax, of queries (N,
    heads, L, d), keys and values (N, heads, S, d); no query sees a key that is `ignored`."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (N, heads, L, S)
    if ignored is not None:
        scores = T.where(ignored, -math.inf, scores)
    weights = T.softmax(scores, -1)
    return weights @ v, weights


class MultiheadAttention(Module):
    """softmax(Q K^T / sqrt(d)) V for each of `num_heads` heads of d = embed_dim / num_heads, then a
    linear map of all heads (Vaswani et al. 2017 sec. 3.2.2).

    kdim, vdim: features of the keys and of the values, embed_dim unless given
    batch_first: whether sequences are (N, L, features), not (L, N, features)

    Raises ValueError unless heads divide embed_dim.
    """

    @accepts(device=None, dtype=None)
    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False,
    ):  # fmt: skip
        kdim, vdim = (embed_dim if n is None else n for n in (kdim, vdim))
        name = "MultiheadAttention"
        check_sizes(name, embed_dim=embed_dim, num_heads=num_heads, kdim=kdim, vdim=vdim)
        check_groups(name, num_heads, embed_dim, name="heads")
        check_only(name, 0.0, dropout=dropout)
        check_only(name, False, add_bias_kv=add_bias_kv, add_zero_attn=add_zero_attn)
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.kdim, self.vdim = kdim, vdim
        if kdim == vdim == embed_dim:
            self.in_proj_weight = _xavier(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = _xavier(embed_dim, embed_dim)
            self.k_proj_weight = _xavier(embed_dim, kdim)
            self.v_proj_weight = _xavier(embed_dim, vdim)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, np.float32)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask=None,
        need_weights: bool = True, attn_mask=None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Queries (N, L, embed_dim) attend to keys (N, S, kdim) with values (N, S, vdim), which
        `key_padding_mask` (N, S), of bool, ignores where it is True.

        Returns (N, L, embed_dim) and, if `need_weights`, the weights (N, L, S), of all heads (N,
        heads, L, S) unless they are averaged. Where all keys are ignored it returns NaN. A single
        sequence needs no N.
        """
        check_only("MultiheadAttention", None, attn_mask=attn_mask)
        check_only("MultiheadAttention", False, is_causal=is_causal)
        given = query, key, value
        if {x.ndim for x in given} == {2}:
            N = 0 if self.batch_first else 1
            mask = None if key_padding_mask is None else Tensor(key_padding_mask)[None]
            query, key, value = (x.unsqueeze(N) for x in given)
            options = mask, need_weights, None, average_attn_weights
            y, weights = self.forward(query, key, value, *options)
            return y.squeeze(N), None if weights is None else weights.squeeze(0)
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) if x.ndim == 3 else x for x in given)
        N, S = key.shape[:2]
        features = self.embed_dim, self.kdim, self.vdim
        expected = (N, *query.shape[1:2], features[0]), (N, S, features[1]), (N, S, features[2])
        if (query.shape, key.shape, value.shape) != expected:
            order = "(N, L or S, features)" if self.batch_first else "(L or S, N, features)"
            got = ", ".join(str(x.shape) for x in given)
            rule = f"query, key and value {order} with {features} features"
            raise ValueError(f"MultiheadAttention: expected {rule}, got {got}")
        projected = map(T.linear, (query, key, value), self._weights(), self._biases())
        q, k, v = (self._heads(x) for x in projected)
        mixed, weights = _attention(q, k, v, self._ignored(key_padding_mask, key))
        y = self.out_proj(mixed.permute(0, 2, 1, 3).reshape(query.shape))
        y = y if self.batch_first else y.transpose(0, 1)
        if not need_weights:
            return y, None
        return y, weights.mean(1) if average_attn_weights else weights

    def _weights(self) -> tuple[Tensor, ...]:
        if self.kdim == self.vdim == self.embed_dim:
            return self.in_proj_weight.chunk(3)
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def _biases(self) -> tuple[Tensor | None, ...]:
        return (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)

    def _heads(self, x: Tensor) -> Tensor:
        """(N, L, embed_dim) as (N, heads, L, d)."""
        N, L, C = x.shape
        return x.reshape(N, L, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)

    def _ignored(self, mask, key: Tensor) -> Tensor | None:
        """A mask of keys as (N, 1, 1, S)."""
        if mask is None:
            return None
        ignored = Tensor(mask, device=key.device)
        N, S, _ = key.shape
        if ignored.dtype != bool or ignored.shape != (N, S):
            got = f"{ignored.dtype} {ignored.shape}"
            rule = f"expected key_padding_mask of bool {(N, S)}"
            raise ValueError(f"MultiheadAttention: {rule}, got {got}")
        return ignored.reshape(N, 1, 1, S)


def _xavier(rows: int, columns: int) -> Parameter:
    weight = Parameter(np.zeros((rows, columns), np.float32))
    init.xavier_uniform_(weight)
    return weight


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
        mixed, _ = _attention(q, k, v)
        mixed = mixed.permute(0, 2, 1, 3).reshape(N, H * W, C)
        return self.out(mixed).reshape(N, H, W, C).permute(0, 3, 1, 2)
