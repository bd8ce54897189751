"""Find the groups of a model: run a twin of it once in eval and once in train mode, and read off what was seen.

Knows how a model is run for the purpose: on meta tensors where it can be, on real ones otherwise. The user's model is
never run and never changed; its twin has copies of its tensors, or meta ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from autoprune.errors import AutopruneError, SurgeryError, describe
from autoprune.surgery.attributes import tag_all, tensors_in
from autoprune.surgery.bases import bases
from autoprune.surgery.cache_bypass import nothing_remembered
from autoprune.surgery.clone import clone
from autoprune.surgery.contractions import unfused
from autoprune.surgery.equations import Equation
from autoprune.surgery.example import Example
from autoprune.surgery.experts import with_experts
from autoprune.surgery.groups import collect
from autoprune.surgery.labels import freeze
from autoprune.surgery.layers import LayerWatcher
from autoprune.surgery.left_behind import nothing_left
from autoprune.surgery.made_weights import as_run, ingredients
from autoprune.surgery.noise import seeded
from autoprune.surgery.operator_watch import eager
from autoprune.surgery.provenance import ProvenanceWatch
from autoprune.surgery.quantised import QUANTISED, quantised_modules
from autoprune.surgery.rows import with_rows
from autoprune.surgery.rules import POINTWISE, table
from autoprune.surgery.siblings import Siblings
from autoprune.surgery.sizes import SizeWatcher
from autoprune.surgery.traced import Traced
from autoprune.surgery.tracer import INPUT, OUTPUT, UNUSED, Rule, Tracer, tensors_of
from autoprune.surgery.tracked_int import Attribute, Step, TrackedInt


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and tensors in plain attributes; tied ones once, under their first name.

    Sparse and quantised tensors are left out: they are never cut.
    """
    modules = list(model.named_modules())  # one walk: this is done for every candidate
    known: set[int] = set()
    for registry in ("_parameters", "_buffers"):
        for prefix, module in modules:
            for name, tensor in getattr(module, registry, {}).items():  # a traced module has it elsewhere
                if tensor is not None and id(tensor) not in known:
                    known.add(id(tensor))
                    if tensor.layout is torch.strided and not tensor.is_quantized:
                        yield f"{prefix}.{name}" if prefix else name, tensor
    for name, tensor in tensors_in(modules, known):
        if tensor.layout is torch.strided and not tensor.is_quantized:
            yield name, tensor


#: Names that a note shows at most.
_SHOWN = 3
SCRIPTED = "in a scripted module, which stays as it is: pass the model as it was before `torch.jit`"


@dataclass(frozen=True)
class Way:
    """How the twin is run: on which tensors, and whether its numbers are tagged."""

    meta: bool
    tagged: bool


#: In the order in which they are tried: without data first, or with.
HOLLOW = (Way(meta=True, tagged=True), Way(meta=False, tagged=True), Way(meta=False, tagged=False))
FILLED = (Way(meta=False, tagged=True), Way(meta=True, tagged=True), Way(meta=False, tagged=False))
#: Parameters, and elements of inputs, up to which a run on real tensors takes no longer than one without data. That one
#: asks Python for the shape of each result, and imports for seconds what answers.
_SMALL, _SHORT = 2 * 10**7, 2 * 10**5


def small(model: nn.Module, example: Example) -> bool:
    """Whether a model is run on real tensors first. By its size, as another process must find the same groups."""
    parameters = list(model.parameters())
    if any(parameter.is_meta for parameter in parameters):
        return False
    inputs = sum(tensor.numel() for tensor in example.tensors)
    return sum(parameter.numel() for parameter in parameters) <= _SMALL and inputs <= _SHORT


def find(model: nn.Module, example: Example) -> Traced:
    """The groups as one run shows them, not verified yet.

    Raises:
        SurgeryError: the model does not run on the example inputs.
    """
    failures: dict[Way, str] = {}
    rules = table()
    for way in FILLED if small(model, example) else HOLLOW:
        try:
            traced = _observed(model, example, way, rules)
        except Exception as error:
            if isinstance(error, AutopruneError) and not way.meta:
                raise
            failures[way] = describe(error)
        else:
            unread = () if way.tagged else (f"sizes could not be watched ({failures[Way(meta=False, tagged=True)]})",)
            return replace(traced, notes=(*traced.notes, *unread))
    # The first one is the cause, and what a failed attempt left behind may be that of the others; but what is said of
    # tensors without data tells little where the same model fails with data.
    (first, cause), (_, other), *_ = failures.items()
    other = "" if other == cause else f"; {'on real tensors' if first.meta else 'without data'} {other}"
    return _unwatched(model, example, cause + other)


def _unwatched(model: nn.Module, example: Example, failure: str) -> Traced:
    """A model that runs, but not while it is watched: all of it stays whole, with that reason."""
    try:
        with torch.no_grad(), seeded(), eager():
            example.fresh().call(twin(model, meta=False)[0].eval())
    except Exception as error:
        raise does_not_run(model, example, error) from error
    tracer = Tracer(dict(named_tensors(model)), {}, POINTWISE)
    for labels in tracer.seeds.values():
        for label in labels:
            freeze(label, f"the model does not run while it is watched ({failure})")
    return collect(tracer, (), dict(model.named_parameters()), ())


def with_readings(model: nn.Module, example: Example, traced: Traced) -> Traced:
    """The same, with how weights read their inputs and which bases look free; where a model cannot be watched nothing,
    and a note of the reason."""
    copied, _ = twin(model, meta=False)
    try:
        watch = followed(copied.eval(), example)
    except Exception as error:  # user code: a model that runs, but not while it is watched, is one without readers
        note = f"what weights read could not be watched ({describe(error)})"
        return replace(traced, reading={}, grouped={}, bases={}, notes=(*traced.notes, note))
    reading = {name: each for name, each in watch.found.items() if each.groups == 1}
    return replace(
        traced,
        reading=reading,
        grouped={name: each for name, each in watch.found.items() if each.groups > 1},
        bases=bases(watch, reading, traced.groups, traced.layouts),
    )


def followed(model: nn.Module, example: Example) -> ProvenanceWatch:
    """What was seen of a model that ran once, as it is."""
    renewed = [
        f"{name}.running_mean"
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and module.track_running_stats
    ]
    watch = ProvenanceWatch(dict(named_tensors(model)), renewed=renewed)
    with torch.no_grad(), seeded(), unfused(), nothing_left(model), watch:
        example.fresh().call(model)
    return watch


def twin(model: nn.Module, meta: bool) -> tuple[nn.Module, dict[str, Tensor]]:
    """A model of the same state with copies of all tensors, or meta ones; and its tensors by name."""
    made: dict[int, Tensor] = {}

    def copied(tensor: Tensor) -> Tensor:
        new = tensor.detach().to("meta") if meta else tensor.detach().clone()
        if isinstance(tensor, nn.Parameter):
            new = nn.Parameter(new, tensor.requires_grad)
        made[id(tensor)] = new
        return new

    names = dict(named_tensors(model))
    new = clone(model, copied)
    own = dict(named_tensors(new))  # of what copies itself, as scripted modules do
    found = {name: made.get(id(tensor), own.get(name)) for name, tensor in names.items()}
    return new, {name: tensor for name, tensor in found.items() if tensor is not None}


def _observed(model: nn.Module, example: Example, way: Way, rules: dict[str, Rule]) -> Traced:
    copied, tensors = twin(model, way.meta)
    hollow = any(tensor.is_meta for tensor in model.parameters())
    tracer = Tracer(tensors, rules, POINTWISE, spare=way.meta and not hollow)
    sizes = SizeWatcher(tracer)
    watch = sizes if way.tagged else nullcontext()

    kept: dict[tuple[str, tuple[Step, ...]], Attribute] = {}

    def tag(attribute: Attribute) -> TrackedInt:
        kept.setdefault((attribute.module, attribute.path), attribute)
        return TrackedInt(attribute.size, attribute, sizes.compared)

    def tagged(new: nn.Module) -> nn.Module:
        if way.tagged:
            tag_all(new, tag)
        return new

    quantised = _quantised(model)
    for name in quantised & set(tracer.seeds):
        for label in tracer.seeds[name]:
            freeze(label, QUANTISED)
    layers = LayerWatcher(tracer)
    shown = example.map(lambda tensor: tensor.to("meta")) if way.meta else example
    with _quiet(), layers.watching(tagged(copied)):
        _run(copied.eval(), shown, tracer, watch)
        layers.settle()
        _see_made(copied, tracer, watch)
        try:
            _run(copied.train(), shown, tracer, watch)
        except Exception:
            # What cannot train on meta tensors may on real ones; what was seen so far holds all the same.
            real, tensors = twin(model, meta=False)
            tracer.bind(tensors)
            try:
                _run(tagged(real).train(), example, tracer, watch)
            except Exception as error:
                tracer.notes.append(f"not traced in train mode ({describe(error)})")
        tracer.notes.extend(_joined(copied, shown, tracer, watch))
    scripted = _scripted(copied)
    tracer.notes.extend(_packed(model))
    tracer.notes.extend(_unreached(copied, set(tracer.seeds) - tracer.used - scripted - quantised))
    for name, labels in tracer.seeds.items():
        if name in scripted or name not in tracer.used:
            for label in labels:
                freeze(label, SCRIPTED if name in scripted else UNUSED)
    equations = [*sizes.equations, *(Equation(left, right) for left, right in tracer.equal)]
    parameters = dict(model.named_parameters())
    found = collect(tracer, equations, parameters, layers.found)
    return with_rows(with_experts(found, tracer, kept.values(), parameters), model)


def _joined(model: nn.Module, example: Example, tracer: Tracer, watch: AbstractContextManager[Any]) -> list[str]:
    """Run what was not reached beside its siblings, from the inside out; what to say of it."""
    names: list[str] = []
    while (siblings := Siblings(model, tracer)).families or siblings.strangers:
        before = len(tracer.used)
        with siblings.joined():
            _run(model.eval(), example, tracer, watch)
        names += siblings.labelled
        if len(tracer.used) == before:
            break
    if not names:
        return []
    return [
        f"the example inputs do not reach {_listed(names)}: they are cut like those beside them; pass example inputs "
        "that reach all to have that proved"
    ]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{len(names)} modules ({shown})"


def _unreached(model: nn.Module, unused: set[str]) -> list[str]:
    """What to say of modules whose tensors no example input reached; a tensor alone may be there for nothing."""
    names = [
        name
        for name, module in model.named_modules()
        if (own := {f"{name}.{each}" for each, _ in module.named_parameters(recurse=False)}) and own <= unused
    ]
    if not names:
        return []
    return [
        f"the example inputs do not reach {_listed(names)}: they stay whole, and inputs that reach them "
        "may fail where what they read was cut; pass example inputs that reach all"
    ]


def _packed(model: nn.Module) -> list[str]:
    """What to say of modules with quantised weights."""
    names = [name for name, _ in quantised_modules(model)]
    if not names:
        return []
    return [f"{_listed(names)} have quantised weights: prune before, and quantise what is left"]


def _scripted(model: nn.Module) -> set[str]:
    """Tensors of scripted modules, whose code is compiled for them."""
    compiled = [(name, each) for name, each in model.named_modules() if isinstance(each, torch.jit.ScriptModule)]
    return {f"{prefix}.{name}" if prefix else name for prefix, each in compiled for name, _ in named_tensors(each)}


def _see_made(model: nn.Module, tracer: Tracer, watch: AbstractContextManager[Any]) -> None:
    """The labels of weights that the model has just made of others."""
    tracer.ingredients = {name: used for name, used in ingredients(model).items() if used & tracer.used}
    counted = len(tracer.flops)
    with torch.no_grad(), tracer, watch:
        tracer.made = {name: tracer.look(as_run(model, name)) for name in tracer.ingredients}
    del tracer.flops[counted:]


def _quantised(model: nn.Module) -> set[str]:
    """Tensors of modules whose weights are quantised."""
    owners = dict(quantised_modules(model))
    return {f"{name}.{key}" if name else key for name, owner in owners.items() for key in owner._parameters}


def _run(model: nn.Module, example: Example, tracer: Tracer, watch: AbstractContextManager[Any]) -> None:
    example = example.fresh()
    for tensor in example.tensors:
        if not tensor.is_nested:
            tracer.set(tensor, tracer.fixed(tensor.shape, INPUT))
    with torch.no_grad(), nothing_remembered(), nothing_left(model), tracer, watch:
        out = example.call(model)
    try:
        out = example.taken(out)
    except AutopruneError:
        if not model.training:  # then a detector returns losses
            raise
    tracer.freeze(tensors_of(out), OUTPUT)


@contextmanager
def _quiet() -> Iterator[None]:
    """No fused kernels that hide what they do, and the caller's random numbers left as they were."""
    with warnings.catch_warnings(), seeded():
        warnings.filterwarnings("ignore", "TF32 acceleration")  # said by setting the flag, on any machine
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.backends.mkldnn.flags(enabled=False):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def does_not_run(model: nn.Module, example: Example, error: Exception) -> SurgeryError:
    sizes = ("rows of unlike lengths" if tensor.is_nested else str(list(tensor.shape)) for tensor in example.tensors)
    shapes = ", ".join(sizes) or "no tensors"
    return SurgeryError(
        expected=f"{type(model).__name__} to run on its example inputs",
        received=f"{describe(error)} for inputs of shape {shapes}",
        cure="pass example inputs of the shape that the model takes",
    )
