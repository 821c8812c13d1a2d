"""cupy.cuda.runtime: how many devices there are."""

from cupy._memory import DEVICES


class CUDARuntimeError(RuntimeError):
    """What the driver reports."""


def getDeviceCount() -> int:
    return DEVICES
