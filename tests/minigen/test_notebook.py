"""In a notebook: three lines train each model on a folder of photos, under a progress bar."""

from pathlib import Path

import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """200 colour images of mixed sizes, PNG and JPEG."""
    folder, rng = tmp_path / "my photos é", np.random.default_rng(0)
    folder.mkdir()
    for k in range(200):
        H, W = rng.integers(8, 40, 2)
        pixels = rng.integers(256, size=(H, W, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.{'jpg' if k % 2 else 'png'}")
    return folder


def test_a_notebook_trains_on_photos(photos: Path) -> None:
    titles = {"ddpm": "DDPM", "ncsn": "NCSN", "vae": "VAE", "ae": "Autoencoder", "gan": "GAN"}
    headings = {name: f"{title} on my photos é" for name, title in titles.items()}
    headings["gan"] += ", non-saturating"
    lines = ["import minigen"]
    for name in headings:
        lines += [f"model = minigen.train({name!r}, {photos.name!r}, size=8, steps=3)", "model"]
    notebook = new_notebook(cells=[new_code_cell(line) for line in lines])
    NotebookClient(notebook, resources={"metadata": {"path": str(photos.parent)}}).execute()
    outputs = [cell.outputs for cell in notebook.cells]
    for (name, heading), training, shown in zip(headings.items(), outputs[1::2], outputs[2::2]):
        printed = "".join(output.get("text", "") for output in training)
        assert "100%" in printed and "3/3" in printed
        (result,) = shown
        expected = f"TrainedModel('{heading}', 3 of 3 steps"
        assert result.data["text/plain"].startswith(expected)
        assert (photos.parent / f"runs/{name}-my photos é/samples.png").exists()
