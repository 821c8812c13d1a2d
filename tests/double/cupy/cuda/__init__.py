"""cupy.cuda: devices, and the errors of memory and driver."""

from cupy._events import happened
from cupy._memory import DEVICES, current_device, use_device
from cupy.cuda import memory, runtime


class Device:
    """A device by its number, the current one without; in a `with` statement the current one."""

    def __init__(self, device: int | None = None):
        self.id = current_device() if device is None else int(device)
        self._before: list[int] = []

    def __enter__(self) -> "Device":
        if not 0 <= self.id < DEVICES:
            raise runtime.CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._before.append(current_device())
        use_device(self.id)
        return self

    def __exit__(self, *exception) -> None:
        use_device(self._before.pop())

    def synchronize(self) -> None:
        happened("wait", "synchronize")

    def __eq__(self, other) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Stream:
    """The one stream there is."""

    ptr = 0


def get_current_stream() -> Stream:
    return Stream()
