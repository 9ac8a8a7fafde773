def tonnage(ship: dict) -> float:
    return ship["kg"] / 1000
