"""Operators of a user's own, that nobody has told autoprune of."""

import sys
from importlib import metadata
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import autoprune
from autoprune.errors import UsageError
from tests.field.test_operators import Between, covered, share_left


@torch.library.custom_op("autoprune_own::gated", mutates_args=())
def gated(x: Tensor, gate: Tensor) -> Tensor:
    return torch.sigmoid(gate) * x


@torch.library.custom_op("autoprune_own::projected", mutates_args=())
def projected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.linear(x, weight, bias).relu()


@projected.register_fake
def _(x, weight, bias):
    return x.new_empty(*x.shape[:-1], len(weight))


@torch.library.custom_op("autoprune_own::normalised", mutates_args=())
def normalised(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight)


@torch.library.custom_op("autoprune_own::added", mutates_args=("x",))
def added(x: Tensor, y: Tensor) -> None:
    x.add_(y)


@torch.library.custom_op("autoprune_own::both", mutates_args=())
def both(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x + y, (x * y).sum(-1)


@torch.library.custom_op("autoprune_own::looked_up", mutates_args=())
def looked_up(x: Tensor, places: Tensor) -> Tensor:
    return x[:, places].clone()


@torch.library.custom_op("autoprune_own::pairs", mutates_args=())
def pairs(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) * x.unsqueeze(-2)


class Layers(nn.Module):
    """Each operator once; weights that are all ones at first, and one that is square."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        self.gate, self.scale = nn.Parameter(torch.ones(32)), nn.Parameter(torch.ones(32))

    def forward(self, x):
        own = torch.ops.autoprune_own
        x = own.gated(self.first(x), self.gate)
        x = own.normalised(own.projected(x, self.second.weight, self.second.bias), self.scale)
        own.added(x, self.scale)
        x, total = own.both(x, x.flip(1))
        return self.last(own.looked_up(x * total.unsqueeze(-1), torch.tensor([0, 2, 2])))


def test_the_width_passes_through_operators_that_treat_its_places_alike():
    assert covered(Layers(), torch.randn(2, 6, 8)) > 0.95
    assert share_left(Layers(), torch.randn(2, 6, 8)) < 0.36


def test_dimensions_of_one_size_are_told_apart():
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.last(torch.ops.autoprune_own.projected(self.first(x), self.second.weight, self.second.bias))

    model, x = Square().eval(), torch.randn(16, 16, 16)
    members = {group.name: {str(each) for each in group.members} for group in autoprune.trace(model, x).open}
    assert members["first"] == {"first.weight[0]", "first.bias[0]", "second.weight[1]"}
    assert members["second"] == {"second.weight[0]", "second.bias[0]", "last.weight[1]"}


def test_one_dimension_may_come_out_twice():
    model = Between(lambda h: torch.ops.autoprune_own.pairs(h).mean(-1))
    assert share_left(model, torch.randn(2, 8)) < 0.36


def test_a_model_without_data_has_numbers_made_up_for_it():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Linear(8, 32), nn.Linear(32, 24), nn.Linear(24, 3)

        def forward(self, x):
            return self.last(torch.ops.autoprune_own.projected(self.first(x), self.second.weight, self.second.bias))

    with torch.device("meta"):
        model = Small().eval()
    traced = autoprune.trace(model, torch.empty(2, 8, device="meta"))
    assert {group.name for group in traced.open} == {"first", "second"}


@torch.library.custom_op("autoprune_own::backwards", mutates_args=())
def backwards(x: Tensor) -> Tensor:
    return x + x.flip(-1)


@torch.library.custom_op("autoprune_own::in_heads", mutates_args=())
def in_heads(x: Tensor, heads: int) -> Tensor:
    rows: Tensor = x.unflatten(-1, (heads, -1))
    return rows.softmax(-1).flatten(-2)


@torch.library.custom_op("autoprune_own::first_half", mutates_args=())
def first_half(x: Tensor) -> Tensor:
    return x[..., : x.shape[-1] // 2].repeat_interleave(2, -1)


@torch.library.custom_op("autoprune_own::of_one_size", mutates_args=())
def of_one_size(x: Tensor) -> Tensor:
    return torch.ones(32)


@torch.library.custom_op("autoprune_own::in_sixteens", mutates_args=())
def in_sixteens(x: Tensor) -> Tensor:
    if x.shape[-1] % 16:
        raise ValueError("a multiple of 16")
    return x * 2


@torch.library.custom_op("autoprune_own::noisy", mutates_args=())
def noisy(x: Tensor) -> Tensor:
    return x + torch.randn(x.shape)


OWN = torch.ops.autoprune_own


@pytest.mark.parametrize(
    "function",
    [
        OWN.backwards,
        lambda h: OWN.in_heads(h, 4),
        OWN.first_half,
        lambda h: h * OWN.of_one_size(h),
        OWN.in_sixteens,
        OWN.noisy,
    ],
    ids=["order", "heads", "half", "one size", "multiples", "noise"],
)
def test_what_tells_places_apart_or_takes_no_fewer_stays_whole_with_that_reason(function):
    traced = autoprune.trace(Between(function).eval(), torch.randn(2, 6, 8))
    reasons = {group.name: group.frozen_reason for group in traced.groups}
    assert reasons["first"].startswith("operator autoprune_own.")
    assert not reasons["second"]


def declared(monkeypatch, text):
    """A file with rules that an installed package declares."""
    module = ModuleType("my_rules")
    exec(text, module.__dict__)  # noqa: S102 - what a user would write into a file
    monkeypatch.setitem(sys.modules, "my_rules", module)
    entry = metadata.EntryPoint("mine", "my_rules", "autoprune.rules")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry] if group == "autoprune.rules" else [])


def test_a_rule_in_one_file_says_what_cannot_be_tried(monkeypatch):
    model, x = Between(lambda h: OWN.in_heads(h, 4)), torch.randn(2, 6, 8)
    declared(
        monkeypatch,
        """
from autoprune.surgery.rules import Prod, freeze, split

def in_heads(call):
    *rest, width = call.trace.of(call.args[0])
    heads, size = split(width, width.size // call.args[1])
    freeze(heads, "their number is an argument")
    call.trace.set(call.out, (*rest, Prod((heads, size))))

RULES = {"autoprune_own.in_heads": in_heads}
""",
    )
    sizes = {
        group.size for group in autoprune.trace(model.eval(), x).open if "first.weight[0]" in map(str, group.members)
    }
    assert sizes == {8}  # of each head
    assert share_left(model, x) < 0.36


def test_a_built_in_rule_is_not_replaced(monkeypatch):
    declared(monkeypatch, "RULES = {'aten.addmm': None, 'aten.mm': None, 'aten.bmm': None}")
    assert share_left(Between(torch.relu), torch.randn(2, 8)) < 0.36


def test_a_family_without_rules_is_refused(monkeypatch):
    declared(monkeypatch, "RULE = {}")
    with pytest.raises(UsageError, match="expected RULES in the rules 'mine'; received none"):
        autoprune.trace(Between(torch.relu).eval(), torch.randn(2, 8))
