"""How far one sequence is from another, for error rates of characters and phonemes."""


def edits(said, true):
    """The fewest changes from one text to another (Levenshtein 1966)."""
    costs = list(range(len(true) + 1))
    for place, one in enumerate(said, 1):
        before, costs[0] = costs[0], place
        for k, other in enumerate(true, 1):
            before, costs[k] = costs[k], min(costs[k] + 1, costs[k - 1] + 1, before + (one != other))
    return costs[-1]
