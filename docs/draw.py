"""`python -m docs.draw` draws the pictures of README.md anew, in docs/pictures: by the commands and
examples that the page names, with their default seeds, in several minutes. `python -m docs.draw
gan` draws one of them.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import minigen
from examples import guidance, latent_space, mode_collapse, noise_schedules, sampler_steps
from minigen.evaluation.pictures import tiles
from minigen.evaluation.slides import save_film

PICTURES = Path(__file__).parent / "pictures"
EXAMPLES = {
    "guidance": guidance,
    "latent_space": latent_space,
    "mode_collapse": mode_collapse,
    "noise_schedules": noise_schedules,
    "sampler_steps": sampler_steps,
}


def ddpm(folder: Path) -> None:
    """Samples beside data, and the way of two dozen from noise."""
    model = minigen.train("ddpm", out=folder)
    keep(folder / "samples.png", "ddpm.png")
    recipe, rng = model.recipe, np.random.default_rng(1)
    with recipe.learner.using_average():
        states = [state.x.numpy() for state in recipe.states(24, rng)]
    sheets = [np.kron(tiles(x, 12)[:, :, 0], np.ones((4, 4))) for x in states]
    levels = [np.uint8(np.rint(16 * sheet) / 16 * 255) for sheet in sheets]  # as the digits have
    frames = [Image.fromarray(grey).convert("RGB") for grey in levels]
    save_film(PICTURES / "denoising.gif", frames)


def gan(folder: Path) -> None:
    """Points over a ring."""
    minigen.train("gan", "ring", out=folder)
    keep(folder / "samples.png", "gan.png")


def cyclegan(folder: Path) -> None:
    """Digits, their translations, and the way back."""
    minigen.train("cyclegan", out=folder)
    keep(folder / "translations.png", "cyclegan.png")


def keep(path: Path, name: str) -> None:
    """Copy a picture, in 256 colours and not wider than a page, to be small."""
    image = Image.open(path).convert("RGB")
    image.thumbnail((1200, 1200))
    image.quantize(dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)


def main(names: list[str]) -> None:
    PICTURES.mkdir(exist_ok=True)
    models = {"ddpm": ddpm, "gan": gan, "cyclegan": cyclegan}
    for name in names or [*models, *EXAMPLES]:
        with TemporaryDirectory() as place:
            folder = Path(place) / "out"
            if name in models:
                models[name](folder)
            else:
                EXAMPLES[name].main(out=folder)
                keep(folder / f"{name}.png", f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
