"""cupy.cuda.memory: what is raised where it is used up."""


class OutOfMemoryError(MemoryError):
    """A lack of memory on the device: `size` bytes beside the `total` that are in use."""

    def __init__(self, size: int, total: int, limit: int = 0):
        used = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(f"{used}, limit set to: {limit:,} bytes)." if limit else f"{used}).")
