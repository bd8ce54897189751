"""Networks that are hard to cut, each with its input."""

import torch
from torch import nn
from torch.nn import functional


class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.depth = nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.point, self.norm = nn.Conv2d(32, 24, 1, bias=False), nn.BatchNorm2d(24)
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = functional.relu6(self.depth(torch.relu(self.stem(x))))
        return self.head(self.norm(self.point(x)).mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.mixed = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3, groups=4)
        self.up = nn.ConvTranspose2d(32, 16, 2, groups=2)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x):
        return self.head(self.up(torch.relu(self.mixed(self.stem(x)))))


class Dense(nn.Module):
    """Concatenation, of the parts in one order and again in another."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.norm, self.c = nn.BatchNorm2d(20), nn.Conv2d(20, 20, 1)
        self.head = nn.Linear(40 * 4, 5)

    def forward(self, x):
        a = self.a(x)
        b = self.b(torch.relu(a))
        joined = self.c(torch.relu(self.norm(torch.cat([a, b], 1)))) + torch.cat([a, b], 1)
        return self.head(functional.adaptive_max_pool2d(torch.cat([joined, b, a], 1), 2).flatten(1))


class PaddedShortcut(nn.Module):
    """A residual whose shortcut grows by zero channels (He et al. 2016, option A)."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return self.head((self.wide(x) + shortcut).mean((2, 3)))


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.down, self.up = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        gate = torch.sigmoid(self.up(torch.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))))
        return self.head((x * gate).mean((2, 3)))


class Shuffled(nn.Module):
    """ShuffleNet's unit: chunk, work on a half, join, shuffle the channels of the groups."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        left, right = self.stem(x).chunk(2, dim=1)
        x = torch.cat([left, torch.relu(self.branch(right))], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(x.mean((2, 3)))


class Regrouped(nn.Module):
    """A channel shuffle with its number of groups in the code: fewer groups would run, and mix the channels."""

    def __init__(self):
        super().__init__()
        self.stem, self.after, self.head = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 24, 1), nn.Linear(24, 5)

    def forward(self, x):
        n, c, h, w = (x := torch.relu(self.stem(x))).shape
        x = x.view(n, 8, c // 8, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(torch.relu(self.after(x)).mean((2, 3)))


class Called(nn.Module):
    """One module called twice, one weight under two names, a norm over groups."""

    def __init__(self):
        super().__init__()
        self.stem, self.again = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.norm, self.tied = nn.GroupNorm(4, 16), nn.Conv2d(16, 16, 3, padding=1)
        self.tied.weight = self.again.weight
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.again(torch.relu(self.again(self.stem(x))))
        return self.head(self.tied(self.norm(x)).mean((2, 3)))


class Sorted(nn.Module):
    """An operator without a rule, in the middle."""

    def __init__(self):
        super().__init__()
        self.before, self.inner, self.after = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = torch.relu(self.inner(torch.relu(self.before(x))))
        return self.head(torch.relu(self.after(torch.sort(x, dim=1).values)))


class Constant(nn.Module):
    """The forward pass holds a size that cannot be mended."""

    def __init__(self):
        super().__init__()
        self.stem, self.free, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 1), nn.Conv2d(12, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        x = x.view(len(x), 8, -1).view(len(x), 8, 6, 6)
        return self.head(torch.relu(self.free(x)))


NETS = {
    net.__name__: (net, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
    for net in (Depthwise, Grouped, Dense, PaddedShortcut, SqueezeExcite, Shuffled, Regrouped, Called, Constant)
} | {"Sorted": (Sorted, torch.randn(2, 8, generator=torch.Generator().manual_seed(1)))}


def made(name):
    """The network in eval mode with uneven statistics, and its inputs."""
    net, x = NETS[name]
    torch.manual_seed(0)
    model = net().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model, (x,)
