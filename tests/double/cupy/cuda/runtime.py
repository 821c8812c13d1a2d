"""cupy.cuda.runtime: how many devices there are, and what they are called."""

from cupy._memory import DEVICES


class CUDARuntimeError(RuntimeError):
    """What the driver reports."""


def getDeviceCount() -> int:
    return DEVICES


def getDeviceProperties(device: int) -> dict[str, bytes]:
    return {"name": f"double of CuPy, device {device}".encode()}
