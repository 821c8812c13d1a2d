"""Small runs of each recipe, for the tests of training."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from minigen.models.autoencoder import CORRUPTIONS
from minigen.models.gan import LOSSES
from minigen.networks.coders import ENCODERS
from minigen.recipes import RECIPES, ae, cyclegan, gan, ncsn, pix2pix, vae
from minigen.recipes.ddpm import DDPMSettings
from minigen.training.loop import train
from minigen.training.run import Run

RING = DDPMSettings(data="ring", steps=6, batch_size=8, timesteps=4)
DIGITS = DDPMSettings(data="digits", steps=4, batch_size=2, timesteps=3)
NCSN = ncsn.NCSNSettings(data="ring", steps=4, batch_size=8, levels=4, level_steps=2)
AE = ae.AESettings(steps=4, batch_size=2, latent=3)
VAE = vae.VAESettings(steps=4, batch_size=2, latent=3)
CYCLEGAN = cyclegan.CycleGANSettings(
    steps=5, batch_size=20, width=2
)  # 60 images in three steps: more than the pools hold
PIX2PIX = pix2pix.Pix2PixSettings(steps=4, batch_size=2, width=2)
AES = [replace(AE, networks=kind) for kind in ENCODERS]
AES += [replace(AE, regulariser=regulariser) for regulariser in ae.REGULARISERS]
AES += [replace(AE, regulariser="denoising", corruption=corruption) for corruption in CORRUPTIONS]
VAES = [
    replace(VAE, networks=kind, conditional=conditional)
    for kind in ENCODERS
    for conditional in (False, True)
]
VAES += [replace(VAE, decoder="gaussian"), replace(VAE, beta=0.0), replace(VAE, beta=4)]
POINTS = gan.GANSettings(data="ring", steps=4, batch_size=4, latent=3)
GAN = gan.GANSettings(steps=4, batch_size=4, latent=3)
GANS = [replace(POINTS, loss=loss) for loss in LOSSES] + [
    replace(POINTS, critic_steps=3),
    replace(GAN, conditional=True),
]
GANS += [GAN, replace(GAN, loss="wgan", conditional=True)]


def model_of(settings: Any) -> str:
    return next(name for name, recipe in RECIPES.items() if recipe.Settings is type(settings))


def new_run(path: Path, settings: Any = RING) -> Run:
    return Run.create(path, {"model": model_of(settings)} | asdict(settings))


def new(settings: Any) -> Any:
    return RECIPES[model_of(settings)](settings)


def contents(run: Run) -> dict[str, bytes]:
    """Every file of the run: its settings, metrics, weights, average, optimiser and random state,
    to the last bit."""
    return {path.name: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def trained(path: Path, settings: Any = RING) -> Run:
    run = new_run(path, settings)
    assert train(new(settings), run, settings.steps)
    return run
