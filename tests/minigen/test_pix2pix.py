"""pix2pix: its losses by hand, for a generator and a discriminator that are lines."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from minigen.models.pix2pix import Pix2Pix
from nn import Parameter
from tensor import Tensor
from tensor.testing import gradcheck

seeds = st.integers(0, 2**32 - 1)


class Line(nn.Module):
    """a x + b"""

    def __init__(self, a: Any, b: Any):
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x + self.b


class OfPairs(nn.Module):
    """a x + b y, for pairs of images of one channel each."""

    def __init__(self, a: Any, b: Any):
        self.a, self.b = a, b

    def forward(self, pair: Tensor) -> Tensor:
        assert pair.shape[1] == 2
        return self.a * pair[:, :1] + self.b * pair[:, 1:]


def parameters(seed: int) -> list[Parameter]:
    return [Parameter(number) for number in np.random.default_rng(seed).standard_normal(4)]


def model_of(a: Any, b: Any, c: Any, d: Any) -> Pix2Pix:
    return Pix2Pix(Line(a, b), OfPairs(c, d))


def pairs(seed: int) -> tuple[Tensor, Tensor]:
    x, y = np.random.default_rng(seed).standard_normal((2, 2, 1, 2, 3))
    return Tensor(x), Tensor(y)


@given(seed=seeds, l1=st.floats(0, 200))
def test_the_losses_are_those_of_the_paper(seed: int, l1: float) -> None:
    """With D = sigmoid(d): the generator minimises -log D(x, G(x)), the discriminator -log D(x, y)
    - log(1 - D(x, G(x)))."""
    p, (x, y) = parameters(seed), pairs(seed)
    model = model_of(*p)
    terms, discriminator = (
        model.generator_losses(x, y, model.G(x)),
        model.discriminator_loss(x, y, model.G(x)),
    )
    a, b, c, d = (number.item() for number in p)
    X, Y, fake = x.numpy(), y.numpy(), a * x.numpy() + b
    D_real, D_fake = (1 / (1 + np.exp(-(c * X + d * z))) for z in (Y, fake))
    assert terms.adversarial.item() == pytest.approx(-np.mean(np.log(D_fake)))
    assert terms.l1.item() == pytest.approx(np.mean(abs(fake - Y)))
    assert discriminator.item() == pytest.approx(
        -np.mean(np.log(D_real)) - np.mean(np.log(1 - D_fake))
    )
    assert terms.total(l1).item() == pytest.approx(terms.adversarial.item() + l1 * terms.l1.item())
    assert terms.total().item() == pytest.approx(terms.total(100).item())


@given(seed=seeds)
def test_the_derivatives_are_right(seed: int) -> None:
    x, y = pairs(seed)

    def total(*p: Tensor) -> Tensor:
        model = model_of(*p)
        return model.generator_losses(x, y, model.G(x)).total(0.7)

    gradcheck(total, parameters(seed))
    gradcheck(
        lambda c, d: model_of(1, 0, c, d).discriminator_loss(x, y, 2 * x), parameters(seed)[:2]
    )


@given(seed=seeds)
def test_translations_are_constants_to_the_discriminator(seed: int) -> None:
    p, (x, y) = parameters(seed), pairs(seed)
    model = model_of(*p)
    model.discriminator_loss(x, y, model.G(x)).backward()
    assert [q.grad is None for q in p] == [True, True, False, False]


def test_each_player_pulls_its_own_way() -> None:
    """From d = 0, where the discriminator cannot decide, and D = 1/2."""
    model, (x, y) = (
        model_of(1.0, 0.0, 0.0, Parameter(np.array(0.0))),
        (Tensor(np.ones((3, 1, 1, 1))), Tensor(np.ones((3, 1, 1, 1)))),
    )
    fake = (-1 * x).requires_grad_()
    (slope,) = T.grad(model.discriminator_loss(x, y, fake), model.D.b)
    assert slope.item() == pytest.approx(-1)
    model.D.b.copy_(np.array(1.0))
    (slope,) = T.grad(model.generator_losses(x, y, fake).adversarial, fake)
    assert (slope.numpy() < 0).all()


def test_a_perfect_generator_has_no_l1_loss() -> None:
    x, _ = pairs(0)
    model = model_of(2.0, 1.0, 1.0, 1.0)
    assert model.generator_losses(x, 2 * x + 1, model.G(x)).l1.item() == 0
