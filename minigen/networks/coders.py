"""Encoders and decoders: images to vectors and back, by dense layers or by convolutions."""

import math
from collections.abc import Callable

import nn

ImageShape = tuple[int, int, int]


def mlp(*sizes: int) -> nn.Sequential:
    """Dense layers from sizes[0] to sizes[-1] features, with SiLU between them."""
    layers: list[nn.Module] = []
    for before, after in zip(sizes, sizes[1:]):
        layers += [nn.Linear(before, after), nn.SiLU()]  # (N, after)
    return nn.Sequential(*layers[:-1])


def mlp_encoder(shape: ImageShape, features: int, hidden: int = 256) -> nn.Sequential:
    """Images (N, *shape) to (N, features) through two hidden layers."""
    layers = mlp(math.prod(shape), hidden, hidden, features)
    return nn.Sequential(nn.Flatten(), *layers)  # (N, C H W), (N, hidden) twice, (N, features)


def mlp_decoder(features: int, shape: ImageShape, hidden: int = 256) -> nn.Sequential:
    """Vectors (N, features) to (N, *shape) through two hidden layers."""
    layers = mlp(features, hidden, hidden, math.prod(shape))
    return nn.Sequential(*layers, nn.Unflatten(1, shape))  # (N, hidden) twice, (N, C H W), images


def conv_encoder(shape: ImageShape, features: int, width: int = 32) -> nn.Sequential:
    """Images (N, *shape) to (N, features): convolutions that halve twice, a dense layer."""
    C, H, W = quarterable(shape)
    return nn.Sequential(
        nn.Conv2d(C, width, 3, padding=1),
        nn.SiLU(),  # (N, width, H, W)
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.SiLU(),  # (N, 2 width, H / 2, W / 2)
        nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
        nn.SiLU(),  # (N, 4 width, H / 4, W / 4)
        nn.Flatten(),
        nn.Linear(4 * width * (H // 4) * (W // 4), features),
    )


def conv_decoder(features: int, shape: ImageShape, width: int = 32) -> nn.Sequential:
    """Vectors (N, features) to (N, *shape): a dense layer, convolutions that double twice."""
    C, H, W = quarterable(shape)
    return nn.Sequential(
        nn.Linear(features, 4 * width * (H // 4) * (W // 4)),
        nn.Unflatten(1, (4 * width, H // 4, W // 4)),
        nn.SiLU(),  # (N, 4 width, H / 4, W / 4)
        nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1),
        nn.SiLU(),  # (N, 2 width, H / 2, W / 2)
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.SiLU(),  # (N, width, H, W)
        nn.Conv2d(width, C, 3, padding=1),
    )


def quarterable(shape: ImageShape) -> ImageShape:
    """shape itself; ValueError unless height and width are divisible by 4."""
    if shape[1] % 4 or shape[2] % 4:
        rule = "must have sides divisible by 4"
        raise ValueError(f"convolutions halve an image twice: {shape} {rule}")
    return shape


ENCODERS: dict[str, Callable[..., nn.Module]] = {"mlp": mlp_encoder, "conv": conv_encoder}
DECODERS: dict[str, Callable[..., nn.Module]] = {"mlp": mlp_decoder, "conv": conv_decoder}
