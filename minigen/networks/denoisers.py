"""The networks that see noise: in images, or in points."""

import nn
from minigen.networks.points import MLPDenoiser
from minigen.networks.unet import UNet


def denoiser_network(shape: tuple[int, ...], classes: int = 0, frequency: float = 3.0) -> nn.Module:
    """A U-Net for images of this shape, with a level more for large ones; an MLP for points.

    classes: of a U-Net that is told labels
    frequency: of the Fourier features of points, see `MLPDenoiser`
    """
    if len(shape) == 1:
        return MLPDenoiser(shape[0], std=frequency)
    return UNet(shape[0], (24, 48) if shape[1] < 16 else (32, 64, 64), classes=classes)
