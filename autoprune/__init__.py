"""autoprune: automated pruning of PyTorch models under budgets that are measured on the device.

Knows the public names and where they live; nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.api.bundle import bundle, load_bundle
    from autoprune.api.check import check
    from autoprune.api.evaluate import Evaluated, evaluate
    from autoprune.api.export import export, load_exported
    from autoprune.api.load import load
    from autoprune.api.monitor import monitor
    from autoprune.api.profile import profile
    from autoprune.api.prune import prune
    from autoprune.api.renew import renew, renewal_due
    from autoprune.api.resume import finetune, resume
    from autoprune.api.scaling import scaling
    from autoprune.api.search import search
    from autoprune.core.budget import AtLeast, AtMost, Budget
    from autoprune.core.callbacks import EpochReport, FrontReport
    from autoprune.core.group import Group
    from autoprune.core.limit import Limit
    from autoprune.core.measurement import Measurement
    from autoprune.core.metric import Metric
    from autoprune.core.plan import Plan
    from autoprune.core.trial import Trial
    from autoprune.deployment.bundle import Bundle
    from autoprune.deployment.bundle_folder import Bundled
    from autoprune.engine.result import Point, Result
    from autoprune.errors import AutopruneError
    from autoprune.measure.pruned import Pruned
    from autoprune.models.masks import from_torch_prune, masks, to_torch_prune
    from autoprune.search_spaces.space import SearchSpace
    from autoprune.search_spaces.space_config import SpaceConfig
    from autoprune.surgery import Traced, trace
    from autoprune.tasks.classification import Classification
    from autoprune.tasks.task import Task
    from autoprune.training.pruner import Pruner

_HOMES = {
    "AtLeast": "core.budget",
    "AtMost": "core.budget",
    "AutopruneError": "errors",
    "Budget": "core.budget",
    "Bundle": "deployment.bundle",
    "Bundled": "deployment.bundle_folder",
    "Classification": "tasks.classification",
    "EpochReport": "core.callbacks",
    "Evaluated": "api.evaluate",
    "FrontReport": "core.callbacks",
    "Group": "core.group",
    "Limit": "core.limit",
    "Measurement": "core.measurement",
    "Metric": "core.metric",
    "Plan": "core.plan",
    "Point": "engine.result",
    "Pruned": "measure.pruned",
    "Pruner": "training.pruner",
    "Result": "engine.result",
    "SearchSpace": "search_spaces.space",
    "SpaceConfig": "search_spaces.space_config",
    "Task": "tasks.task",
    "Traced": "surgery",
    "Trial": "core.trial",
    "bundle": "api.bundle",
    "check": "api.check",
    "evaluate": "api.evaluate",
    "export": "api.export",
    "finetune": "api.resume",
    "from_torch_prune": "models.masks",
    "load": "api.load",
    "load_bundle": "api.bundle",
    "load_exported": "api.export",
    "masks": "models.masks",
    "monitor": "api.monitor",
    "profile": "api.profile",
    "prune": "api.prune",
    "renew": "api.renew",
    "renewal_due": "api.renew",
    "resume": "api.resume",
    "scaling": "api.scaling",
    "search": "api.search",
    "to_torch_prune": "models.masks",
    "trace": "surgery",
}

__all__ = [
    "AtLeast",
    "AtMost",
    "AutopruneError",
    "Budget",
    "Bundle",
    "Bundled",
    "Classification",
    "EpochReport",
    "Evaluated",
    "FrontReport",
    "Group",
    "Limit",
    "Measurement",
    "Metric",
    "Plan",
    "Point",
    "Pruned",
    "Pruner",
    "Result",
    "SearchSpace",
    "SpaceConfig",
    "Task",
    "Traced",
    "Trial",
    "__version__",
    "bundle",
    "check",
    "evaluate",
    "export",
    "finetune",
    "from_torch_prune",
    "load",
    "load_bundle",
    "load_exported",
    "masks",
    "monitor",
    "profile",
    "prune",
    "renew",
    "renewal_due",
    "resume",
    "scaling",
    "search",
    "to_torch_prune",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("autoprune")
    if name not in _HOMES:
        raise AttributeError(f"module 'autoprune' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"autoprune.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
