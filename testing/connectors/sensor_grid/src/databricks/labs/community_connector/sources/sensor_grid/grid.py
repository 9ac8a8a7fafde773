CELLS = ("north", "east", "south")


def readings(cell: str, after: int, until: int):
    """Ticks after `after`, up to `until`."""
    return ((tick, tick * len(cell)) for tick in range(after + 1, until + 1))
