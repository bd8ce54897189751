"""Cutting tensors: trace a model by running it, apply a plan on a copy, verify. The only room that cuts."""

from autoprune.surgery.apply import apply, kept_slices
from autoprune.surgery.clone import unwrapped
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.find import twin
from autoprune.surgery.traced import Traced
from autoprune.surgery.verify import trace

__all__ = ["CutModel", "Traced", "apply", "kept_slices", "trace", "twin", "unwrapped"]
