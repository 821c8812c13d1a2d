"""Recipes: who moves in a step, and where samples and measures come from."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensor as T
from minigen.data import LIMITS, MODES, Dataset, load
from minigen.evaluation import batches, fields, pictures
from minigen.models.gan import LOSSES, PENALISED
from minigen.models.predictions import PREDICTIONS
from minigen.recipes import RECIPES, chains, gan
from minigen.recipes.ddpm import SAMPLERS, DDPMRecipe
from minigen.recipes.gan import GANRecipe
from minigen.recipes.ncsn import NCSNRecipe
from minigen.training.learner import Learner
from minigen.training.settings import RunSettings
from tensor import Tensor
from tests.minigen.small_runs import DIGITS, GAN, NCSN, POINTS, RING, VAE, new, new_run, trained

# DDPM


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", replace(RING, steps=100, batch_size=32, lr=5e-3))
    losses = [line["loss"] for line in run.metrics()]
    assert len(losses) == 100 and np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_every_step_moves_the_weights_the_last_one_too() -> None:
    recipe = DDPMRecipe(RING)
    for k in range(1, RING.steps + 1):
        before = [p.numpy() for p in recipe.network.parameters()]
        recipe.step(k)
        after = [p.numpy() for p in recipe.network.parameters()]
        assert not any(map(np.array_equal, before, after))


def test_training_sees_every_timestep_from_1_to_T() -> None:
    recipe, seen = DDPMRecipe(RING), set()
    loss = recipe.prediction.loss
    recipe.prediction.loss = lambda network, x0, t, noise, **how: (
        seen.update(t.tolist()) or loss(network, x0, t, noise, **how)
    )  # type: ignore
    for k in range(1, 7):
        recipe.step(k)
    assert seen == {1, 2, 3, 4}


def test_samples_come_from_the_averaged_weights_within_the_range_of_the_data() -> None:
    """An average of zero sees no noise anywhere, while the weights themselves do."""
    recipe, rng = DDPMRecipe(RING), np.random.default_rng(7)
    recipe.learner.average.average[...] = 0  # type: ignore[union-attr]
    x = T.randn(5, 2, generator=rng)
    *_, last = recipe.diffusion.ancestral(lambda x, t: 0 * x, x, rng, "beta_tilde", 1.1)
    assert np.array_equal(recipe.sample(5, seed=7), last.x.numpy())


@pytest.mark.parametrize("data", ["ring", "grid"])
@pytest.mark.parametrize(("schedule", "timesteps"), [("cosine", 1000), ("constant", 10_000)])
def test_long_schedules_sample_finite_points(data: str, schedule: str, timesteps: int) -> None:
    """Untrained networks are wrong by 1 / signal, which is 1e44 at most, before it is held."""
    settings = replace(RING, data=data, schedule=schedule, timesteps=timesteps)
    limit = abs(load(data).train).max()
    assert abs(new(settings).sample(2, seed=0)).max() <= 1.2 * limit


def test_points_lie_within_the_limits_of_their_sets() -> None:
    for name, limit in LIMITS.items():
        data = load(name)
        assert 0.8 * limit < abs(data.train).max() < limit > abs(data.test).max()


@pytest.mark.parametrize("n", [1, 3, 7])
@pytest.mark.parametrize("settings", [RING, replace(NCSN, largest_sigma=0.1)])
def test_many_samples_are_drawn_in_batches(
    settings: Any, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "BATCH", 3)
    x = new(settings).sample(n, seed=0)
    assert x.shape == (n, 2) and x.dtype == np.float32 and len(np.unique(x, axis=0)) == n


def test_samplers_take_the_steps_that_were_asked_for() -> None:
    recipe, rng = DDPMRecipe(RING), np.random.default_rng(0)
    times = {
        asked: [state.t for state in recipe.states(1, rng, *asked)]
        for asked in [("ancestral", None), ("ddim", None), ("ddim", 2)]
    }
    assert list(times.values()) == [[4, 3, 2, 1, 0], [4, 3, 2, 1, 0], [4, 2, 0]]


@pytest.mark.parametrize(
    ("timesteps", "expected"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (14, list(range(0, 15, 2)))]
)
def test_pictures_show_each_timestep_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timesteps: int, expected: list[int]
) -> None:
    drawn: dict[str, list[int]] = {}

    def note(path: Path, states: list[np.ndarray], labels: list[str], *_: Any, **__: Any) -> None:
        drawn[path.name] = [int(label.split()[2]) for label in labels]

    monkeypatch.setattr(pictures, "sequence", note)
    DDPMRecipe(replace(RING, timesteps=timesteps)).draw(new_run(tmp_path / "run"))
    assert drawn == {"forward.png": expected, "trajectory.png": expected[::-1]}


@pytest.mark.parametrize(
    ("schedule", "timesteps", "share"),
    [("linear", 50, "0.6"), ("linear", 1000, None), ("cosine", 50, None), ("cosine", 1, None)],
)
def test_a_schedule_that_leaves_some_of_the_data_is_reported(
    schedule: str, timesteps: int, share: str | None
) -> None:
    warning = DDPMRecipe(replace(RING, schedule=schedule, timesteps=timesteps)).warning
    if share is None:
        assert warning is None
    else:
        assert (
            warning is not None
            and f"{schedule} over {timesteps} steps leaves alpha_bar_T = {share}" in warning
        )


def test_a_sampler_that_there_is_not_is_refused_at_once() -> None:
    recipe = DDPMRecipe(RING)
    for ask in (recipe.check_sampling, lambda *how: recipe.sample(1, 0, *how)):
        with pytest.raises(ValueError, match="one of ancestral, ddim, heun, dpm-solver, got 'dd'"):
            ask("dd")
        for how in (("ancestral", 2), ("ddim", 5), ("heun", 5)):
            with pytest.raises(ValueError, match="or dpm-solver, and at most 4 for this run"):
                ask(*how)
        for sampler in ("ancestral", "heun"):
            with pytest.raises(ValueError, match="`eta` is for `sampler` ddim"):
                ask(sampler, None, 0.5)
        with pytest.raises(ValueError, match="trained with `conditional`"):
            ask("ddim", None, 0.0, 2.0)
        for eta in (-0.1, 1.1, math.nan):
            with pytest.raises(ValueError, match="`eta` must lie between 0 and 1"):
                ask("ddim", None, eta)


@pytest.mark.parametrize("guidance", [-1.1, 101, math.inf, math.nan])
def test_guidance_has_limits(guidance: float) -> None:
    recipe = DDPMRecipe(replace(DIGITS, conditional=True))
    with pytest.raises(ValueError, match="`guidance` must lie between -1"):
        recipe.sample(1, 0, guidance=guidance)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_are_finite_whatever_is_predicted_and_whoever_samples(
    prediction: str, sampler: str
) -> None:
    recipe = DDPMRecipe(replace(RING, predict=prediction))
    recipe.step(1)
    x = recipe.sample(5, 0, sampler)
    assert x.shape == (5, 2) and abs(x).max() <= 1.1 and len(np.unique(x)) > 1


def test_a_conditional_denoiser_is_told_the_label_and_guided_away_from_none() -> None:
    recipe = DDPMRecipe(replace(DIGITS, conditional=True))
    for k in range(1, 4):
        recipe.step(k)
    x, t, labels = T.randn(2, 1, 8, 8), np.array([2, 3]), np.array([7, 1])
    eps, none = (recipe.network(x, t, y).numpy() for y in (labels, np.full(2, 10)))
    assert not np.array_equal(eps, none)
    assert np.array_equal(recipe.denoiser(labels)(x, t).numpy(), eps)
    guided = recipe.denoiser(labels, 2.0)(x, t).numpy()
    assert guided == pytest.approx(3 * eps - 2 * none, rel=1e-5, abs=1e-6)
    assert not np.array_equal(recipe.sample(2, 0, label=7), recipe.sample(2, 0, label=1))


def test_the_bound_of_many_is_that_of_batches_each_told_its_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chains, "BATCH", 3)
    recipe = DDPMRecipe(replace(DIGITS, conditional=True))
    recipe.step(1)
    x0 = Tensor(recipe.data.test[:7])
    of_all, of_first = (recipe.bound(x, np.random.default_rng(0)) for x in (x0, x0[:3]))
    assert of_all.shape == (recipe.diffusion.T + 1, 7) and np.isfinite(of_all).all()
    assert np.array_equal(of_all[:, :3], of_first)


def test_a_conditional_denoiser_learns_without_its_label_too() -> None:
    """A tenth of the labels is dropped: the embedding of no label learns beside the others."""
    recipe, told = DDPMRecipe(replace(DIGITS, conditional=True, batch_size=400)), []
    loss = recipe.prediction.loss
    recipe.prediction.loss = lambda network, x0, t, noise, labels, **how: (
        told.append(labels) or loss(network, x0, t, noise, labels, **how)
    )  # type: ignore
    for k in (1, 2):
        recipe.step(k)
    labels = np.concatenate(told)
    assert set(labels) == set(range(11)) and 0.05 < (labels == 10).mean() < 0.15


# NCSN


def test_levels_of_noise_are_in_units_of_the_largest_coordinate() -> None:
    for data in ("ring", "grid", "digits"):
        settings = replace(NCSN, data=data, largest_sigma=3.0, smallest_sigma=0.1)
        assert new(settings).sigmas[[0, -1]] == pytest.approx(settings.largest * np.array([3, 0.1]))


def test_the_last_level_of_noise_is_smaller_than_the_first() -> None:
    with pytest.raises(ValueError, match="`smallest_sigma` must be below `largest_sigma`, got 2.0"):
        replace(NCSN, smallest_sigma=2.0, largest_sigma=1.5)


def test_training_sees_every_level_of_noise() -> None:
    recipe, seen = NCSNRecipe(NCSN), set()
    forward = recipe.score.forward
    recipe.score.forward = lambda x, sigma: seen.update(sigma.tolist()) or forward(x, sigma)  # type: ignore
    for k in range(1, 7):
        recipe.step(k)
    assert seen == set(recipe.sigmas.tolist())


def test_chains_without_a_score_drift_apart_by_the_steps_of_each_level() -> None:
    """An average of zero has no score: from sigma_1 z on, each step adds a noise whose variance is
    `step_size` sigma^2."""
    recipe, rng = NCSNRecipe(replace(NCSN, step_size=0.3)), np.random.default_rng(7)
    recipe.learner.average.average[...] = 0  # type: ignore[union-attr]
    spreads = [recipe.sigmas[0], *np.repeat(math.sqrt(0.3) * recipe.sigmas, NCSN.level_steps)]
    with recipe.learner.using_average():
        *_, before, last = recipe.states(5, np.random.default_rng(7))
    expected = sum(s * rng.standard_normal((5, 2), dtype=np.float32) for s in spreads)
    assert before.x.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert np.array_equal(recipe.sample(5, seed=7), last.x.numpy())


def test_chains_pass_each_level_and_leave_the_last_noise_behind() -> None:
    recipe = NCSNRecipe(NCSN)
    *states, before, last = recipe.states(3, np.random.default_rng(0))
    sigmas = recipe.sigmas.tolist()
    passed = [state.sigma for state in [*states, before]]
    assert passed == [sigmas[0], *np.repeat(sigmas, NCSN.level_steps)]
    score = recipe.score(before.x, np.full(3, sigmas[-1])).numpy()
    assert last.sigma == 0
    seen = np.clip(before.x.numpy() + sigmas[-1] ** 2 * score, -LIMITS["ring"], LIMITS["ring"])
    assert last.x.numpy() == pytest.approx(seen, abs=1e-6)


@pytest.mark.parametrize("data", ["ring", "grid", "moons"])
def test_true_scores_are_drawn_where_they_are_known(
    data: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With little noise they lead to the nearest centre, and stop there."""
    drawn: list[Any] = []
    monkeypatch.setattr(fields, "fields", lambda *arguments: drawn.extend(arguments))
    settings = replace(NCSN, data=data, largest_sigma=0.04, smallest_sigma=0.03, device=device)
    recipe = new(settings)
    recipe.draw(new_run(tmp_path / "run", settings))
    _, x, arrows, rows, labels, *_ = drawn
    assert len(arrows) == len(labels) == 3 * rows and rows == (1 if data == "moons" else 2)
    assert labels[0] == f"learnt, $\\sigma$ = {recipe.sigmas[1]:.2g}"
    if data in MODES:
        assert labels[-1] == f"true, $\\sigma$ = {recipe.sigmas[3]:.2g}"
        centres, std = MODES[data]
        away = centres - x[:, None]
        squares = np.sort((away**2).sum(2), 1)
        near = away[np.arange(len(x)), (away**2).sum(2).argmin(1)]
        sigma = recipe.sigmas[3]
        clear = squares[:, 1] - squares[:, 0] > 20 * (sigma**2 + std**2)
        share = sigma**2 / (sigma**2 + std**2)
        assert clear.sum() > 100
        assert arrows[-1][clear] == pytest.approx(share * near[clear], rel=1e-3, abs=1e-3)


# All


@pytest.mark.parametrize("model", RECIPES)
def test_a_recipe_is_made_of_its_own_settings(model: str) -> None:
    recipe = RECIPES[model]
    for wrong in ({"steps": 3}, RunSettings()):
        expected = f"expected {recipe.Settings.__name__}, got {type(wrong).__name__}"
        with pytest.raises(TypeError, match=expected):
            recipe(wrong)


# VAEs


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_loss_of_a_vae_is_that_of_its_terms(beta: float) -> None:
    logged = {name: x.item() for name, x in new(replace(VAE, beta=beta)).step(1).items()}
    loss = logged["reconstruction"] + beta * logged["kl"]
    assert logged["loss"] == pytest.approx(loss, rel=1e-6) and logged["kl"] > 0


# GANs


PLAYERS = ("generator", "discriminator")


def weights_of_players(recipe: Any) -> dict[str, list[np.ndarray]]:
    return {n: [p.numpy() for p in getattr(recipe.model, n).parameters()] for n in PLAYERS}


def test_a_step_of_a_gan_is_k_of_the_discriminator_and_one_of_the_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each on a batch of its own, and with the other player still: it is not even given
    gradients."""
    recipe = GANRecipe(replace(POINTS, critic_steps=3))
    learners = {"generator": recipe.G_learner, "discriminator": recipe.D_learner}
    moved: list[str] = []
    batches: list[Tensor] = []
    descend, batch = Learner.descend, Dataset.batch

    def descending(learner: Learner, loss: Tensor, k: int) -> None:
        (moving,) = [name for name in PLAYERS if learners[name] is learner]
        (other,) = {*PLAYERS} - {moving}
        before, still = weights_of_players(recipe), list(getattr(recipe.model, other).parameters())
        gradients = [p.grad for p in still]
        descend(learner, loss, k)
        after = weights_of_players(recipe)
        assert all(p.grad is g for p, g in zip(still, gradients, strict=True))
        changed = [n for n in PLAYERS if not all(map(np.array_equal, before[n], after[n]))]
        assert changed == [moving]
        moved.append(moving)

    def batching(data: Dataset, *arguments: Any) -> Any:
        x, labels = batch(data, *arguments)
        batches.append(x)
        return x, labels

    monkeypatch.setattr(Learner, "descend", descending)
    monkeypatch.setattr(Dataset, "batch", batching)
    for k in (1, 2):
        recipe.step(k)
    assert moved == 2 * [*3 * ["discriminator"], "generator"]
    assert len({x.numpy().tobytes() for x in batches}) == 6
    assert (recipe.G_learner.optimizer.steps, recipe.D_learner.optimizer.steps) == (2, 6)


def test_the_generator_alone_is_averaged() -> None:
    recipe = GANRecipe(POINTS)
    assert recipe.checkpointed["ema"] is recipe.G_learner.average is not None
    assert recipe.D_learner.average is None


def test_both_players_see_the_labels_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe: Any = GANRecipe(replace(GAN, loss="hinge", conditional=True))
    shown, batches = [], []
    judge, generate, batch = recipe.model.judge, recipe.model.generate, recipe.data.batch
    recipe.model.judge = lambda x, labels: shown.append(labels) or judge(x, labels)
    recipe.model.generate = lambda n, labels, rng: shown.append(labels) or generate(n, labels, rng)
    monkeypatch.setattr(Dataset, "batch", lambda data, *a: batches.append(batch(*a)) or batches[-1])
    recipe.step(1)
    ((_, labels),) = batches
    assert len(shown) == 5 and all(np.array_equal(seen, labels) for seen in shown)


@pytest.mark.parametrize("loss", LOSSES)
def test_only_the_critic_of_wgan_has_its_weights_clipped(loss: str) -> None:
    recipe: Any = GANRecipe(replace(GAN, loss=loss, clip=1e-3))
    recipe.step(1)
    largest = {n: max(abs(p).max() for p in part) for n, part in weights_of_players(recipe).items()}
    assert (largest["discriminator"] <= 1e-3 * (1 + 1e-6)) == (loss == "wgan") and largest[
        "generator"
    ] > 0.01


def test_only_a_critic_with_a_gradient_penalty_has_no_batch_norm() -> None:
    for loss in LOSSES:
        model: Any = GANRecipe(replace(GAN, loss=loss)).model
        assert "2.running_mean" in model.generator.state_dict()
        assert ("3.running_mean" in model.discriminator.state_dict()) == (loss not in PENALISED)


def test_the_weight_of_the_penalty_is_the_one_asked_for() -> None:
    recipes = [GANRecipe(replace(POINTS, loss="wgan-gp", penalty=p)) for p in (0.0, 1.0, 3.0)]
    first = [recipe.step(1)["discriminator"].item() for recipe in recipes]
    assert (
        first[2] - first[0] == pytest.approx(3 * (first[1] - first[0]), rel=1e-4)
        and first[1] > first[0]
    )


def test_samples_come_from_the_averaged_generator_and_running_statistics() -> None:
    """What a sample is does not depend on those drawn with it, and in a conditional model the
    classes take turns."""
    recipe: Any = GANRecipe(replace(GAN, conditional=True))
    recipe.step(1)
    model, seen = recipe.model, []
    forward = model.generator.forward
    model.generator.forward = lambda z: seen.append(z.numpy()) or forward(z)
    x = recipe.sample(12, seed=7)
    assert np.array_equal(seen[0][:, GAN.latent :], np.eye(10)[np.arange(12) % 10])
    assert (
        recipe.sample(3, seed=7) == pytest.approx(x[:3], rel=1e-5, abs=1e-6)
        and len(np.unique(x, axis=0)) == 12
    )
    recipe.G_learner.average.average[...] = 0
    assert not recipe.sample(3, seed=7).any() and model.generator.training


def test_conditional_games_need_data_with_labels() -> None:
    for name in ("ring", "grid", "moons", "swiss-roll"):
        with pytest.raises(
            ValueError, match=f"`conditional` is for images, which have labels: {name} has none"
        ):
            gan.GANSettings(data=name, conditional=True)


@pytest.mark.parametrize("data", ["ring", "grid", "moons", "digits"])
@pytest.mark.parametrize("model", ["gan", "ddpm"])
def test_where_data_have_modes_their_coverage_is_measured(model: str, data: str) -> None:
    """Data in place of samples are the floor."""
    settings = POINTS if model == "gan" else RING
    recipe = new(replace(settings, data=data))
    recipe.sample = lambda n, *_: recipe.data.train[:n]  # type: ignore[method-assign]
    measures = recipe.evaluate(200, seed=0)
    measures = {name: pair for name, pair in measures.items() if "bound" not in name}
    names = ["modes covered", "good samples", "reverse KL, nats"]
    assert [name for name in measures if name in names] == (
        names if data in ("ring", "grid") else []
    )
    assert all(value == floor for value, floor in measures.values())
    if data in ("ring", "grid"):
        recipe.sample = lambda n, *_: np.tile(recipe.data.train[:1], (n, 1))
        modes = {"ring": 8, "grid": 25}[data]
        coverage = [recipe.evaluate(200, seed=0)[name] for name in names]
        assert [value for value, _ in coverage] == pytest.approx([1, 1, math.log(modes)])
        assert coverage[0][1] == modes and 0.9 < (coverage[1][1] or 0) <= 1


def test_digits_asked_for_are_read() -> None:
    """Training digits in place of samples are read as what they are, if they are what was asked
    for."""
    recipe = new(replace(GAN, conditional=True))
    train, labels = recipe.data.train, recipe.data.train_labels
    turns = np.stack([train[labels == label][:5] for label in range(10)], 1).reshape(50, 1, 8, 8)
    for samples, share in ((turns, 1), (np.roll(turns, 1, 0), 0)):
        recipe.sample = lambda n, seed, samples=samples: samples  # type: ignore[method-assign]
        read, best = recipe.evaluate(50, seed=0)["read as asked"]
        assert read == pytest.approx(share, abs=0.05) and best is not None and best > 0.9
    assert "read as asked" not in new(GAN).evaluate(5, seed=0)


def test_samples_are_the_same_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = new(replace(GAN, conditional=True))
    whole = recipe.sample(7, seed=0)
    monkeypatch.setattr(batches, "BATCH", 3)
    assert recipe.sample(7, seed=0) == pytest.approx(whole, abs=1e-6)


def test_large_images_are_computed_fewer_at_once() -> None:
    """So that memory does not grow with their size either."""
    sizes: list[int] = []
    x = np.zeros((3, 3, 800, 800), np.float32)
    y = batches.in_batches(lambda x: (sizes.append(len(x)), x)[1], x)
    assert y.shape == x.shape and sizes == [1, 1, 1]
