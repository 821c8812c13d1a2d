"""The text side of a network: what it sees of captions, and what it must not see."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from minigen.data.scenes import WORDS, caption, random_scene
from minigen.networks.text import (
    PADDING,
    START,
    CrossAttentionBlock,
    Text,
    TextEncoder,
    Tokenizer,
    TransformerBlock,
)
from tensor import Tensor
from tensor.testing import gradcheck

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 3)
captions = st.lists(
    seeds.map(lambda seed: caption(random_scene(np.random.default_rng(seed)))) | st.just(""),
    min_size=1,
    max_size=4,
)
tokenizer = Tokenizer(WORDS)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64, with no parameter left at 0 or 1."""
    rng = np.random.default_rng(seed)
    for p in module.to("float64").parameters():
        p.copy_(rng.normal(scale=0.5, size=p.shape))
    return module


def normal(*shape: int, seed: int = 1) -> Tensor:
    return T.randn(shape, generator=np.random.default_rng(seed), dtype=np.float64)


def text_of(lengths: list[int], L: int, D: int, seed: int = 2) -> Text:
    """Features (N, L, D) of captions of so many words."""
    padding = np.arange(L) >= np.array(lengths)[:, None]
    return Text(normal(len(lengths), L, D, seed=seed), Tensor(padding))


def lengthened(text: Text, more: int) -> Text:
    """With more padding, of any features."""
    N, _, D = text.features.shape
    features = T.cat([text.features, normal(N, more, D, seed=3)], 1)
    return Text(
        features, Tensor(np.pad(text.padding.numpy(), ((0, 0), (0, more)), constant_values=True))
    )


def assert_close(x: Tensor, y: Tensor) -> None:
    np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-9, atol=1e-9)


def differ(x: Tensor, y: Tensor) -> bool:
    """Whether every element does."""
    return bool((abs(x.numpy() - y.numpy()) > 1e-9).all())


# Words as integers


@given(texts=captions)
def test_integers_say_the_words_again(texts: list[str]) -> None:
    tokens = tokenizer(texts)
    words = {number: word for word, number in tokenizer.numbers.items()}
    assert tokens.shape == (len(texts), 1 + max(len(text.split()) for text in texts))
    for text, row in zip(texts, tokens):
        n = len(text.split())
        assert row[0] == START and (row[n + 1 :] == PADDING).all()
        assert " ".join(words[k] for k in row[1 : n + 1]) == text


def test_every_integer_stands_for_one_thing() -> None:
    numbers = {PADDING, START, *tokenizer.numbers.values()}
    assert numbers == set(range(len(tokenizer))) and len(tokenizer) == len(WORDS) + 2


def test_unknown_words_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown word 'purple'; choose from a, two, three, "):
        tokenizer(["a red circle", "A purple circle"])


# The encoder


def encoder(seed: int = 0) -> TextEncoder:
    return randomised(TextEncoder(len(tokenizer), dim=8, num_heads=2, longest=14), seed)


@given(texts=captions, more=st.integers(0, 3))
def test_padding_does_not_change_what_words_mean(texts: list[str], more: int) -> None:
    tokens, encode = tokenizer(texts), encoder()
    features, padding = encode(tokens)
    longer, padding_of_longer = encode(np.pad(tokens, ((0, 0), (0, more)), constant_values=PADDING))
    assert np.array_equal(padding.numpy(), tokens == PADDING)
    assert padding_of_longer.numpy()[:, tokens.shape[1] :].all()
    is_word = tokens != PADDING
    assert_close(longer[:, : tokens.shape[1]][is_word], features[is_word])


@given(texts=captions)
def test_captions_are_encoded_each_for_itself(texts: list[str]) -> None:
    encode = encoder()
    together = encode(tokenizer(texts)).features
    for text, features in zip(texts, together):
        (alone,) = encode(tokenizer([text])).features
        assert_close(features[: len(alone)], alone)


def test_every_word_means_something_else_beside_other_words() -> None:
    encode = encoder()
    one, other = encode(tokenizer(["a red circle", "a blue circle"])).features
    assert differ(one, other)


def test_the_order_of_words_is_seen() -> None:
    encode = encoder()
    one, other = encode(
        tokenizer(["a red circle above a blue cross", "a blue cross above a red circle"])
    ).features
    assert differ(one.sum(0), other.sum(0))


def test_an_empty_caption_is_finite_and_unlike_others() -> None:
    features, padding = encoder()(tokenizer(["", "a red circle"]))
    assert np.isfinite(features.numpy()).all() and padding.sum().item() == 3
    assert differ(features[0, 0], features[1, 0])


def test_captions_longer_than_the_longest_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 13 words here, got 14"):
        encoder()(tokenizer(["red " * 14]))
    encoder()(tokenizer(["red " * 13]))


@given(N=sizes, L=sizes, seed=seeds)
def test_a_block_does_not_know_the_order_of_tokens(N: int, L: int, seed: int) -> None:
    block, rng = randomised(TransformerBlock(4, 2)), np.random.default_rng(seed)
    text = text_of(rng.integers(1, L + 1, N).tolist(), L, 4)
    order = rng.permutation(L)
    turned = block(Text(text.features[:, order], text.padding[:, order]))
    assert_close(turned.features, block(text).features[:, order])


def test_a_block_is_torchs_encoder_layer() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    block = randomised(TransformerBlock(4, 2))
    theirs = torch.nn.TransformerEncoderLayer(4, 2, 16, dropout=0.0, batch_first=True).double()
    theirs.load_state_dict(
        {name: torch.tensor(x.numpy()) for name, x in block.state_dict().items()}
    )
    text = text_of([1, 3, 2], 3, 4)
    x, padding = (torch.tensor(y.numpy()) for y in text)
    expected = theirs(x, src_key_padding_mask=padding).detach().numpy()
    np.testing.assert_allclose(block(text).features.numpy(), expected, rtol=1e-9, atol=1e-9)


# Cross-attention


def cross_attention(channels: int = 4, D: int = 6) -> CrossAttentionBlock:
    return randomised(CrossAttentionBlock(channels, D, num_heads=2))


@given(N=sizes, H=sizes, W=sizes)
def test_images_pass_unchanged_at_first(N: int, H: int, W: int) -> None:
    block, x = CrossAttentionBlock(4, 6, num_heads=2).to("float64"), normal(N, 4, H, W)
    assert np.array_equal(block(x, text_of([1] * N, 3, 6)).numpy(), x.numpy())


@given(lengths=st.lists(sizes, min_size=1, max_size=3), more=sizes, seed=seeds)
def test_images_see_words_in_any_order_and_no_padding(
    lengths: list[int], more: int, seed: int
) -> None:
    block, text = cross_attention(), text_of(lengths, 3, 6)
    x = normal(len(lengths), 4, 2, 3)
    order = np.random.default_rng(seed).permutation(3 + more)
    longer = lengthened(text, more)
    assert_close(block(x, longer), block(x, text))
    assert_close(
        block(x, Text(longer.features[:, order], longer.padding[:, order])), block(x, text)
    )
    assert differ(block(x, text), block(x, text_of(lengths, 3, 6, seed=4)))


@given(lengths=st.lists(sizes, min_size=1, max_size=3), seed=seeds)
def test_pixels_ask_each_for_itself(lengths: list[int], seed: int) -> None:
    """So they may stand in any order, and an image of one pixel gets the same answer."""
    block, text = cross_attention(), text_of(lengths, 3, 6)
    N, order = len(lengths), np.random.default_rng(seed).permutation(6)
    x = normal(N, 4, 2, 3)

    def shuffled(x: Tensor) -> Tensor:
        return x.reshape(N, 4, 6)[:, :, order].reshape(N, 4, 2, 3)

    y = block(x, text)
    assert_close(block(shuffled(x), text), shuffled(y))
    assert_close(block(x[:, :, :1, 1:2], text), y[:, :, :1, 1:2])


def test_one_word_is_all_that_there_is_to_see() -> None:
    """The weight of a single word is 1: each pixel gets W_out W_V word, with their biases."""
    block, text, x = cross_attention(), text_of([1], 1, 6), normal(1, 4, 2, 2)
    inner, word = block.attention, text.features.numpy()[0, 0]
    value = inner.v_proj_weight.numpy() @ word + inner.in_proj_bias.numpy()[8:]
    added = inner.out_proj.weight.numpy() @ value + inner.out_proj.bias.numpy()
    np.testing.assert_allclose(
        block(x, text).numpy() - x.numpy(), np.tile(added[:, None, None], (1, 1, 2, 2))
    )


# All of it


@pytest.mark.parametrize("part", ["encoder", "cross-attention"])
def test_derivatives_by_features_and_by_every_parameter(part: str) -> None:
    make: Callable[[], nn.Module] = {
        "encoder": lambda: TransformerBlock(2, 1),
        "cross-attention": lambda: CrossAttentionBlock(2, 2, num_heads=1),
    }[part]
    module, x, text = randomised(make()), normal(2, 2, 1, 2), text_of([1, 3], 3, 2)

    def applied(features: Tensor, x: Tensor, *parameters: Tensor) -> Tensor:
        twin = make().to("float64")
        for (path, _), value in zip(module.named_parameters(), parameters, strict=True):
            *owners, last = path.split(".")
            owner = twin
            for name in owners:
                owner = getattr(owner, name)
            vars(owner)[last] = value
        given = Text(features, text.padding)
        if part == "cross-attention":
            return twin(x, given)
        return twin(given).features * (1 + x.sum())

    leaves = [text.features.requires_grad_(), x.requires_grad_(), *module.parameters()]
    gradcheck(applied, leaves)


def test_a_loss_reaches_every_parameter_and_no_padding_on_every_device(device: str) -> None:
    encode = encoder().to(device)
    block = randomised(CrossAttentionBlock(4, 8, num_heads=2)).to(device)
    x = Tensor(normal(2, 4, 2, 2), device=device)
    y = block(x, encode(tokenizer(["", "a red circle"])))
    here = block.to("cpu")(
        Tensor(x, device="cpu"), encode.to("cpu")(tokenizer(["", "a red circle"]))
    )
    np.testing.assert_allclose(y.numpy(), here.numpy(), rtol=1e-9, atol=1e-9)
    (here * normal(2, 4, 2, 2, seed=5)).sum().backward()
    gradients = dict(encode.named_parameters()) | dict(block.named_parameters())
    assert all(p.grad is not None and abs(p.grad.numpy()).max() > 0 for p in gradients.values())
    assert not encode.words.weight.grad.numpy()[PADDING].any()
