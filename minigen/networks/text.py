"""Words for a network: captions as integers, an encoder of them, and how images attend to them.

The encoder is that of Vaswani et al. 2017, small, with learnt positions; images attend to its words
as in latent diffusion (Rombach et al. 2022 sec. 3.3).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import nn
import tensor as T
from tensor import Tensor

PADDING, START = 0, 1
"""The integers for what is no word: what fills up short captions, and what begins each caption, so
that an empty one, which says nothing, is something to attend to."""


class Tokenizer:
    """Captions of known words, in any case, as integers (N, L): START, the words, and PADDING."""

    def __init__(self, words: Sequence[str]):
        self.numbers = {word: START + 1 + k for k, word in enumerate(words)}

    def __len__(self) -> int:
        """How many integers there are, PADDING and START among them."""
        return START + 1 + len(self.numbers)

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """L is one more than the longest caption has words. ValueError for unknown words."""
        rows = [[START, *map(self._number, text.lower().split())] for text in captions]
        tokens = np.full((len(rows), max(map(len, rows), default=1)), PADDING)
        for row, numbers in zip(tokens, rows):
            row[: len(numbers)] = numbers
        return tokens

    def _number(self, word: str) -> int:
        if word not in self.numbers:
            raise ValueError(f"unknown word {word!r}; choose from {', '.join(self.numbers)}")
        return self.numbers[word]


class Text(NamedTuple):
    """Captions as a network sees them: features (N, L, D), and where they are padding, bool (N,
    L)."""

    features: Tensor
    padding: Tensor


class TransformerBlock(nn.Module):
    """Norm(y + W2 relu(W1 y)) for y = Norm(x + attention(x)): Vaswani et al. 2017 sec. 3.1, 3.3."""

    def __init__(self, dim: int, num_heads: int):
        self.self_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, text: Text) -> Text:
        x, padding = text
        attended, _ = self.self_attn(x, x, x, padding, need_weights=False)
        y = self.norm1(x + attended)  # (N, L, dim)
        y = self.norm2(y + self.linear2(T.relu(self.linear1(y))))  # (N, L, dim)
        return Text(y, padding)


class TextEncoder(nn.Module):
    """Integers (N, L) of a `Tokenizer` to a Text of `dim` features: a vector for each word and one
    for its position, added, then transformer blocks.

    tokens: how many integers there are, `len(tokenizer)`
    longest: the largest L
    """

    def __init__(
        self, tokens: int, dim: int = 64, num_heads: int = 4, blocks: int = 2, longest: int = 16
    ):
        self.words, self.positions = nn.Embedding(tokens, dim), nn.Embedding(longest, dim)
        self.blocks = nn.Sequential(*(TransformerBlock(dim, num_heads) for _ in range(blocks)))

    def forward(self, tokens: np.ndarray) -> Text:
        L, longest = np.shape(tokens)[1], self.positions.num_embeddings
        if L > longest:
            raise ValueError(f"a caption has at most {longest - 1} words here, got {L - 1}")
        x = self.words(tokens) + self.positions.weight[:L]  # (N, L, dim)
        return self.blocks(Text(x, Tensor(np.equal(tokens, PADDING), device=x.device)))


class CrossAttentionBlock(nn.Module):
    """x + attention(norm(x), text) for features x (N, channels, H, W): each pixel asks all words of
    its image's text (Rombach et al. 2022 sec. 3.3).

    At first it is the identity: the attention's last layer is zero.
    """

    def __init__(self, channels: int, text_features: int, num_heads: int = 4):
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(
            channels, num_heads, kdim=text_features, vdim=text_features, batch_first=True
        )
        nn.init.zeros_(self.attention.out_proj.weight)

    def forward(self, x: Tensor, text: Text) -> Tensor:
        N, C, H, W = x.shape
        pixels = self.norm(x.permute(0, 2, 3, 1).reshape(N, H * W, C))
        features, padding = text
        seen, _ = self.attention(pixels, features, features, padding, need_weights=False)
        return x + seen.reshape(N, H, W, C).permute(0, 3, 1, 2)  # (N, channels, H, W)
