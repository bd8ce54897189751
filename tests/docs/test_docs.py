"""What the documentation shows is run: tutorials from top to bottom, and each plug-in that a page writes."""

import doctest
import importlib
import re
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import torch

from autoprune import registry
from autoprune.calibration.ranking import rank
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.core.reporter import Silent
from autoprune.finetuning.coupled import CoupledWeights
from autoprune.finetuning.regularizers import RegularizerContext
from autoprune.surgery import trace
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.example import Example
from autoprune.testing.criterion import attention_task, residual_task
from autoprune.testing.distiller import DistillerConformance
from autoprune.testing.executor import ExecutorConformance
from autoprune.testing.exporter import CandidateConformance, ExporterConformance
from autoprune.testing.gate import GateConformance
from autoprune.testing.policy import PolicyConformance
from autoprune.testing.sampler import small_context, small_space
from autoprune.testing.schedule import GROUPS, PLAN
from autoprune.testing.task import TaskConformance
from autoprune.testing.tracker import TrackerConformance
from autoprune.training.schedules import ScheduleContext

DOCS = Path(__file__).parents[2] / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


def blocks(path):
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def module(page, place=0):
    """A plug-in as a page writes it."""
    made = ModuleType(f"written.{page}")
    exec(compile(blocks(DOCS / "extend" / f"{page}.md")[place], page, "exec"), made.__dict__)  # noqa: S102
    return made


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(path))
    assert re.findall(r"^assert ", code, re.MULTILINE), "a tutorial checks what it says"
    exec(compile(code, str(path), "exec"), {})  # noqa: S102


@pytest.mark.parametrize("page", ["training"])
def test_the_code_of_a_guide_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in blocks(DOCS / f"{page}.md"):
        assert re.findall(r"^assert ", code, re.MULTILINE), "code checks what it says"
        exec(compile(code, page, "exec"), {})  # noqa: S102


@pytest.mark.parametrize("name", ["core.budget", "core.limit", "core.plan", "core.metric"])
def test_examples_in_docstrings_are_true(name):
    assert doctest.testmod(importlib.import_module(f"autoprune.{name}")).failed == 0


@pytest.mark.parametrize("place", [0, 1])
def test_the_criteria_of_their_page_rank_slices(place):
    task = residual_task()
    ranking = rank(module("criterion", place), task.model, trace(task.model, task.example_inputs), task)
    assert ranking.scores
    assert all(torch.isfinite(scores).all() for scores in ranking.scores.values())


def test_the_gate_of_its_page_conforms(monkeypatch):
    loaded, suite = registry.load, GateConformance()
    monkeypatch.setattr(registry, "load", lambda kind, name: module("gate") if kind == "gates" else loaded(kind, name))
    suite.name = "sigmoid"
    for name in dir(suite):
        if name.startswith("test_"):
            getattr(suite, name)()


def test_the_repair_of_its_page_leaves_a_finite_model():
    task = residual_task()
    repair = module("repair").prepare(task, trace(task.model, task.example_inputs), {})
    repair(CutModel(task.model))
    assert all(torch.isfinite(each).all() for each in task.model.state_dict().values())


def test_the_schedule_of_its_page_comes_to_the_plan_in_all_epochs():
    context = ScheduleContext(plan=PLAN, groups=GROUPS, epochs=5)
    found = module("schedule").phases(context)
    assert found[-1].plan == PLAN
    assert sum(phase.epochs for phase in found) == 5


def test_the_distiller_of_its_page_brings_a_student_closer(monkeypatch):
    written, load = module("distiller"), registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: written if kind == "distillers" else load(kind, name))
    suite = DistillerConformance()
    suite.name = "directions"
    for task in (residual_task(), attention_task()):
        suite.test_a_model_is_at_no_distance_from_itself(task)
        suite.test_descending_it_brings_a_smaller_model_closer(task)


def test_the_regularizer_of_its_page_is_smaller_for_fewer_large_slices():
    task, penalty = residual_task(), module("regularizer").penalty
    weights = CoupledWeights(CutModel(task.model), trace(task.model, task.example_inputs))

    def value():
        context = RegularizerContext(
            groups=weights.groups(), parameters=weights.parameters, held=weights.held, going={}, options={}
        )
        return penalty(context)

    before = value()
    before.backward()
    with torch.no_grad():
        for parameter in weights.parameters.values():
            parameter.sub_(parameter.grad, alpha=0.1)
    assert value() < before


def test_the_sampler_of_its_page_asks_for_legal_levels():
    import optuna

    space = small_space()
    sampler = module("sampler").create(small_context(space))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(5):
        trial = study.ask(
            {each.name: optuna.distributions.IntDistribution(0, len(each.levels) - 1) for each in space.variables}
        )
        study.tell(trial, [1.0, 1.0])
    assert all(0 <= level < 8 for level in trial.params.values())


def test_the_profiler_of_its_page_times_a_model():
    profiler = module("profiler").create(RunSpec(torch.get_num_threads()), SystemClock())
    handle = profiler.prepare(torch.nn.Linear(4, 4), Example.of(torch.zeros(2, 4)))
    assert profiler.outputs(handle)[0].shape == (2, 4)
    assert len(profiler.run_block(handle, 0.0, 3).wall_s) == 3
    assert "latency" in profiler.capabilities().metrics


def test_the_meter_of_its_page_counts_what_leaves_a_battery(tmp_path):
    written = module("meter")
    assert written.create() is None or written.create().read() >= 0
    file = tmp_path / "energy_now"
    file.write_text("1000000")
    battery = written.Battery(file, 1_000_000)
    file.write_text("0")
    assert battery.read() == 3600


def test_the_policy_of_its_page_conforms(monkeypatch):
    written, load = module("policy"), registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: written if kind == "policies" else load(kind, name))
    suite = PolicyConformance()
    suite.name = "battery"
    for name in dir(suite):
        if name.startswith("test_"):
            getattr(suite, name)()


class TestFormatOfItsPage(ExporterConformance):
    name = "core"

    @pytest.fixture(autouse=True)
    def _written(self, monkeypatch):
        written, load = module("exporter"), registry.load
        monkeypatch.setattr(registry, "load", lambda kind, name: written if name == "core" else load(kind, name))


class TestExporterOfItsPage(CandidateConformance):
    def made(self, dense, example, counts):
        return module("exporter", 1).create(dense, example, counts)


class TestTrackerOfItsPage(TrackerConformance):
    name = "table"

    @pytest.fixture(autouse=True)
    def _written(self, monkeypatch):
        written, load = module("tracker"), registry.load
        monkeypatch.setattr(registry, "load", lambda kind, name: written if name == "table" else load(kind, name))


class TestExecutorOfItsPage(ExecutorConformance):
    def made(self):
        return module("executor").create(None, "local", Silent())


class TestTaskOfItsPage(TaskConformance):
    def made(self):
        return module("task").task(Silent())


def test_the_search_space_of_its_page_is_read(tmp_path):
    from autoprune import search_spaces

    (text,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "extend" / "search_space.md").read_text(), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text)
    assert search_spaces.choose(str(tmp_path / "mine.yaml"), []).kinds == ("channel",)


def test_the_rule_of_its_page_keeps_to_the_contract(monkeypatch):
    operator = torch.library.custom_op("my_kernels::scaled_heads", mutates_args=())

    @operator
    def scaled_heads(x: torch.Tensor, scale: torch.Tensor, heads: int) -> torch.Tensor:
        return (x.view(len(x), heads, -1) * scale.softmax(-1)).flatten(1)

    rules, suite = module("rule"), module("rule", 1)
    entry = metadata.EntryPoint("my-kernels", "my_package.rules", "autoprune.rules")
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda _: rules)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry] if group == "autoprune.rules" else [])
    written = suite.TestMyKernels()
    written.test_every_rule_is_called()
    written.test_results_are_reordered_as_the_rules_say()
