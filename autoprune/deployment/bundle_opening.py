"""A bundle opened again from its folder and the dense model. Knows forms, weights and policies; not where tasks are."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from autoprune.core.clock import Clock
from autoprune.deployment.bundle import Bundle, Confidence
from autoprune.deployment.bundle_folder import read
from autoprune.models.nested import unnested
from autoprune.models.weights import fill, shapes_of
from autoprune.policies import policy_of


def open_bundle(folder: Path, dense: nn.Module, confidence: Confidence | None, clock: Clock) -> Bundle:
    """The bundle of a folder.

    Args:
        folder: Of `autoprune bundle`.
        dense: What its members were cut from.
        confidence: How sure outputs are, for policies that ask.
        clock: Tells seconds.

    Raises:
        StorageError: it is damaged, or of another dense model.
        UsageError: its policy is not known here.
    """
    bundled, content, nesting = read(folder)
    source = str(folder)
    models = [each.form.built(dense, source) for each in bundled.members]
    weights = unnested(content, nesting, [shapes_of(model) for model in models], source)
    for each, model, tensors in zip(bundled.members, models, weights, strict=True):
        fill(model, tensors, source)
        each.form.settle(model, source)
    members = [each.member for each in bundled.members]
    made = policy_of(bundled.policy).create(members, bundled.settings)
    return Bundle(models, bundled.policy, made, confidence=confidence, clock=clock)
