"""What tests of tracing share: the groups that are open, and random slices of them."""

import torch


def open_groups(traced):
    return {group.name: group for group in traced.open if group.kind != "layer"}


def units(traced):
    """What is cut together: each group alone, or all of a tie."""
    return dict.fromkeys(group.tie or group.name for group in open_groups(traced).values())


def drawn(traced, draw):
    """Slices of every group: any legal count, in any order; tied groups keep equally many steps."""
    steps = {}
    keep = {}
    for group in open_groups(traced).values():
        count = (
            steps.setdefault(
                group.tie or group.name, draw.randint(-(-group.floor // group.step), group.size // group.step)
            )
            * group.step
        )
        keep[group.name] = torch.tensor(sorted(draw.sample(range(group.size), count)))
    return keep
