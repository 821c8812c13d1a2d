"""CycleGAN: its losses by hand for networks that are lines, and the pool of images."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from minigen.models.cyclegan import CycleGAN, ImagePool
from nn import Parameter
from tensor import Tensor
from tensor.testing import gradcheck

seeds = st.integers(0, 2**32 - 1)
NETWORKS = ("G", "F", "D_X", "D_Y")


class Line(nn.Module):
    """a x + b"""

    def __init__(self, a: Any, b: Any):
        self.a, self.b = a, b

    def forward(self, x: Any) -> Any:
        return self.a * x + self.b


def lines(seed: int) -> CycleGAN:
    rng = np.random.default_rng(seed)
    return CycleGAN(
        *(Line(*(Parameter(rng.standard_normal(())) for _ in range(2))) for _ in NETWORKS)
    )


def images(seed: int) -> tuple[Tensor, Tensor]:
    """x and y, of which there may be different numbers."""
    rng = np.random.default_rng(seed)
    return Tensor(rng.standard_normal((2, 1, 2, 3))), Tensor(rng.standard_normal((3, 1, 2, 3)))


def on_arrays(model: CycleGAN) -> list[Line]:
    """G, F, D_X and D_Y, for arrays."""
    return [Line(line.a.item(), line.b.item()) for line in (model.G, model.F, model.D_X, model.D_Y)]


def losses(model: CycleGAN, x: Tensor, y: Tensor) -> Any:
    return model.generator_losses(x, y, fake_x=model.F(y), fake_y=model.G(x))


# The losses


@given(seed=seeds)
def test_the_adversarial_losses_are_half_of_the_papers(seed: int) -> None:
    model, (x, y) = lines(seed), images(seed)
    a, b = x.numpy(), y.numpy()
    G, F, D_X, D_Y = on_arrays(model)
    expected = {
        "adversarial_G": np.mean((D_Y(G(a)) - 1) ** 2) / 2,
        "adversarial_F": np.mean((D_X(F(b)) - 1) ** 2) / 2,
        "cycle_x": np.mean(abs(F(G(a)) - a)),
        "cycle_y": np.mean(abs(G(F(b)) - b)),
        "identity_x": np.mean(abs(F(a) - a)),
        "identity_y": np.mean(abs(G(b) - b)),
    }
    found = losses(model, x, y)._asdict()
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(expected)


@given(seed=seeds, cycle=st.floats(0, 20))
def test_twice_the_total_is_the_objective_of_the_paper_for_lambda_twice_cycle(
    seed: int, cycle: float
) -> None:
    """Zhu et al. 2017 eq. 3 with the squares of sec. 4: E (D_Y(G(x)) - 1)^2 + E (D_X(F(y)) - 1)^2 +
    lambda (E |F(G(x)) - x| + E |G(F(y)) - y|)."""
    model, (x, y) = lines(seed), images(seed)
    a, b = x.numpy(), y.numpy()
    G, F, D_X, D_Y = on_arrays(model)

    def objective(lambda_: float) -> float:
        adversarial = np.mean((D_Y(G(a)) - 1) ** 2) + np.mean((D_X(F(b)) - 1) ** 2)
        cycles = np.mean(abs(F(G(a)) - a)) + np.mean(abs(G(F(b)) - b))
        return adversarial + lambda_ * cycles

    total = losses(model, x, y).total(cycle, identity=0)
    assert 2 * total.item() == pytest.approx(objective(2 * cycle))


@given(seed=seeds)
def test_the_discriminators_minimise_half_of_their_objective_as_in_the_paper(seed: int) -> None:
    """Sec. 4: E (D(y) - 1)^2 + E D(G(x))^2; sec. 7.1: divided by 2 while D is optimised."""
    model, (x, y) = lines(seed), images(seed)
    a, b = x.numpy(), y.numpy()
    G, F, D_X, D_Y = on_arrays(model)
    of_X = np.mean((D_X(a) - 1) ** 2) + np.mean(D_X(F(b)) ** 2)
    of_Y = np.mean((D_Y(b) - 1) ** 2) + np.mean(D_Y(G(a)) ** 2)
    found = model.discriminator_loss(x, y, model.F(y), model.G(x))
    assert found.item() == pytest.approx((of_X + of_Y) / 2)


@given(seed=seeds, cycle=st.floats(0, 20), identity=st.floats(0, 20))
def test_the_total_is_the_weighted_sum(seed: int, cycle: float, identity: float) -> None:
    found = losses(lines(seed), *images(seed))
    weights = (1, 1, cycle, cycle, identity, identity)
    assert found.total(cycle, identity).item() == pytest.approx(
        sum(w * t.item() for w, t in zip(weights, found, strict=True))
    )
    assert found.total().item() == pytest.approx(found.total(10, 5).item())


@given(seed=seeds)
def test_identity_losses_may_be_left_out(seed: int) -> None:
    model, (x, y) = lines(seed), images(seed)
    found = model.generator_losses(x, y, model.F(y), model.G(x), identity=False)
    assert [term.item() for term in found] == [term.item() for term in losses(model, x, y)[:4]] + [
        0,
        0,
    ]


@given(seed=seeds)
def test_identities_have_no_cycle_and_no_identity_loss(seed: int) -> None:
    model, (x, y) = lines(seed), images(seed)
    model.G, model.F = Line(1.0, 0.0), Line(1.0, 0.0)
    assert [term.item() for term in losses(model, x, y)[2:]] == [0, 0, 0, 0]


@given(seed=seeds, a=st.sampled_from([-4.0, 0.5, 2.0]), b=st.integers(-3, 3))
def test_inverse_maps_have_no_cycle_loss_whatever_they_map(seed: int, a: float, b: int) -> None:
    """The cycle alone does not tell right from wrong."""
    model, (x, y) = lines(seed), images(seed)
    model.G, model.F = Line(a, b), Line(1 / a, -b / a)
    found = losses(model, x, y)
    assert [found.cycle_x.item(), found.cycle_y.item()] == pytest.approx([0, 0], abs=1e-12)
    assert min(found.identity_x.item(), found.identity_y.item()) > 0.01


@given(seed=seeds)
def test_the_derivative_of_the_total_is_right(seed: int) -> None:
    x, y = images(seed)

    def total(*parameters: Tensor) -> Tensor:
        model = CycleGAN(*(Line(*parameters[k : k + 2]) for k in range(0, 8, 2)))
        return losses(model, x, y).total(cycle=0.7, identity=0.3)

    gradcheck(total, list(lines(seed).parameters()))


@given(seed=seeds)
def test_translations_are_constants_to_the_discriminators(seed: int) -> None:
    model, (x, y) = lines(seed), images(seed)
    model.discriminator_loss(x, y, model.F(y), model.G(x)).backward()
    assert all(p.grad is None for p in (*model.G.parameters(), *model.F.parameters()))
    assert all(p.grad is not None for p in (*model.D_X.parameters(), *model.D_Y.parameters()))


def test_each_player_pulls_its_own_way() -> None:
    """From 1/2, where the discriminators cannot decide: translations up for the generators, down
    for the discriminators."""
    model, (x, y) = lines(0), images(0)
    model.D_X, model.D_Y = Line(Parameter(np.array(1.0)), Parameter(np.array(0.5))), Line(1.0, 0.5)
    found = model.generator_losses(x, y, fake_x=0 * y, fake_y=0 * x)
    assert T.grad(found.adversarial_F, model.D_X.b)[0].item() == pytest.approx(-0.5)
    loss = model.discriminator_loss(
        x=Tensor(np.full((4, 1), 2.0)), y=y, fake_x=Tensor(np.full((4, 1), -2.0)), fake_y=x
    )
    assert T.grad(loss, model.D_X.a)[0].item() == pytest.approx(2 * 1.5 - 2 * -1.5)


# The pool


def numbered(first: int, n: int) -> Tensor:
    """n images (1, 2, 2) that hold their numbers."""
    return Tensor(
        np.arange(first, first + n, dtype=np.float32)[:, None, None, None]
        * np.ones((1, 2, 2), np.float32)
    )


def numbers(images: Any) -> list[int]:
    """Those in `numbered` images, each the same everywhere."""
    images = np.asarray(images)
    assert (images == images[:, :1, :1, :1]).all()
    return [int(k) for k in images[:, 0, 0, 0]]


@given(
    seed=seeds, size=st.integers(1, 6), batches=st.lists(st.integers(1, 5), min_size=1, max_size=12)
)
def test_a_pool_gives_back_images_and_loses_none(seed: int, size: int, batches: list[int]) -> None:
    """What it is given while there is room, of which it keeps copies; and then each image that
    comes in or out is one."""
    pool, rng, first = ImagePool((1, 2, 2), size), np.random.default_rng(seed), 1
    for n in batches:
        given, before = numbered(first, n), numbers(pool.images[: pool.count])
        room = max(0, min(n, size - pool.count))
        returned = numbers(pool.query(given, rng).numpy())
        assert returned[:room] == numbers(given.numpy())[:room]
        copies = Counter(returned[:room])
        assert (
            Counter(returned) + Counter(numbers(pool.images[: pool.count]))
            == Counter(before + numbers(given)) + copies
        )
        first += n
    assert pool.count == min(size, first - 1) and pool.images.shape == (size, 1, 2, 2)


def test_the_pool_of_the_paper_holds_50_images() -> None:
    pool, rng = ImagePool((1, 2, 2)), np.random.default_rng(0)
    assert numbers(pool.query(numbered(1, 50), rng)) == list(range(1, 51))
    pool.query(numbered(51, 500), rng)
    assert pool.images.shape == (50, 1, 2, 2) and pool.count == 50


def test_half_of_what_a_full_pool_returns_is_old_and_from_anywhere_in_it() -> None:
    pool, rng, n = ImagePool((1, 2, 2), 10), np.random.default_rng(0), 4000
    pool.query(numbered(1, 10), rng)
    old, slots = 0, Counter[int]()
    for k in range(11, 11 + n):
        before = pool.images.numpy()
        (returned,) = numbers(pool.query(numbered(k, 1), rng))
        old += returned != k
        slots.update(np.flatnonzero((pool.images.numpy() != before)[:, 0, 0, 0]).tolist())
    assert old / n == pytest.approx(0.5, abs=5 * 0.5 / n**0.5)
    assert slots.total() == old and all(
        slots[k] == pytest.approx(n / 20, abs=5 * (n / 20) ** 0.5) for k in range(10)
    )


def test_what_a_pool_returns_is_new_and_constant(device: str) -> None:
    pool, rng = ImagePool((1, 2, 2), 2), np.random.default_rng(0)
    for _ in range(4):
        x = numbered(1, 3).to(device).requires_grad_()
        returned = pool.query(2 * x, rng)
        assert not returned.requires_grad and returned.shape == x.shape
        assert returned.dtype == x.dtype and returned.device == x.device
        assert pool.images.device == x.device


@given(seed=seeds, n=st.integers(0, 9))
def test_a_restored_pool_goes_on_as_the_first(seed: int, n: int) -> None:
    pool, other = ImagePool((1, 2, 2), 5), ImagePool((1, 2, 2), 5)
    rng = np.random.default_rng(seed)
    if n:
        pool.query(numbered(1, n), rng)
    state = pool.state_dict()
    other.load_state_dict(state)
    results = [
        numbers(p.query(numbered(10, 6), np.random.default_rng(seed)).numpy())
        for p in (pool, other)
    ]
    assert (
        results[0] == results[1]
        and (pool.images == other.images).numpy().all()
        and pool.count == other.count
    )
    assert state["count"] == min(n, 5) and numbers(state["images"][: min(n, 5)]) != [10]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"count": 6}, ValueError, "count is 6, but the pool has room for 5"),
        ({"count": -1}, ValueError, "count is -1"),
        ({"images": np.zeros((4, 1, 2, 2), np.float32)}, ValueError, "images: expected float32"),
        ({"more": 1}, KeyError, "more"),
    ],
)
def test_the_state_of_another_pool_is_refused(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    pool = ImagePool((1, 2, 2), 5)
    with pytest.raises(error, match=message):
        pool.load_state_dict(pool.state_dict() | change)
