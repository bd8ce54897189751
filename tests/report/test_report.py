from dataclasses import replace

from autoprune.core.budget import Budget
from autoprune.core.front import Front
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric, cost
from autoprune.core.plan import Plan
from autoprune.core.trial import Trial, TrialState
from autoprune.report.document import document, metrics
from autoprune.report.plot import front_figure, front_picture
from autoprune.report.table import closest, front_table, summary

QUALITY = Metric("accuracy", "1", lower_is_better=False, high=1.0)


def measured(accuracy, seconds):
    return {
        "accuracy": Measurement("accuracy", accuracy, "1", accuracy - 0.01, accuracy + 0.01, 300, split="validation"),
        "latency": Measurement("latency", seconds, "s", seconds * 0.9, seconds * 1.1, 40),
        "latency.relative": Measurement("latency.relative", seconds / 0.01, "1", 0.1, 0.9),
    }


BUDGET = Budget.parse("latency=5ms")
TRIALS = [
    Trial(0, Plan.of({"g": 8}), TrialState.COMPLETE, measured(0.99, 0.01), {"latency": 1.2}),
    Trial(1, Plan.of({"g": 4}), TrialState.COMPLETE, measured(0.95, 0.004), {"latency": -0.12}),
    Trial(2, Plan.of({"g": 2}), TrialState.COMPLETE, measured(0.90, 0.003), {"latency": -0.34}),
    Trial(3, Plan.of({"g": 1}), TrialState.FAILED, error="nan"),
]
FRONT = Front.of(TRIALS, (QUALITY, COSTS["latency"]))
DOCUMENT = document(
    run="runs/x", task="t", seed=0, seconds=12.0, devices={"": {"name": "torch"}}, budget=BUDGET, objectives=["accuracy", "latency"],
    trials=TRIALS, dense=measured(0.99, 0.01), front=FRONT, partial=False,
    test={"dense": {"accuracy": measured(0.98, 1)["accuracy"]}, "best": {"accuracy": measured(0.96, 1)["accuracy"]}},
)  # fmt: skip


def test_the_document_counts_trials_and_names_the_best():
    assert DOCUMENT["trials"] == {"complete": 3, "infeasible": 1, "failed": 1, "screened": 0}
    assert DOCUMENT["best"] == 1
    assert [point["trial"] for point in DOCUMENT["front"]] == [2, 1, 0]
    assert [point["feasible"] for point in DOCUMENT["front"]] == [True, True, False]


def test_the_table_marks_the_best_and_what_is_beyond_the_budget():
    lines = front_table(DOCUMENT).splitlines()
    assert [line[0] for line in lines[2:-1]] == [" ", "*", "!"]
    assert lines[-1] == "* best; ! beyond the budget"
    assert "4 ms [3.6 ms, 4.4 ms]" in lines[3]
    assert "40%" in lines[3]


def test_what_is_limited_or_traded_off_has_a_column():
    tail = {"latency.p99": Measurement("latency.p99", 0.007, "s", 0.006, 0.008)}
    limited = document(
        run="r", task="t", seed=0, seconds=1.0, devices={"": {}}, budget=Budget.parse("latency.p99=8ms"),
        objectives=["accuracy"], trials=TRIALS, dense=measured(0.99, 0.01) | tail, front=FRONT, partial=False, test={},
    )  # fmt: skip
    assert "latency.p99" in front_table(limited).splitlines()[0]
    assert "7 ms [6 ms, 8 ms]" in front_table(limited).splitlines()[1]


def test_names_are_drawn_as_they_are_written(recwarn):
    for name in ("$x_{1$", "fit$\\foo$", "数字"):
        assert front_picture(name, TRIALS, measured(0.99, 0.01), FRONT, BUDGET).startswith(b"\x89PNG")
    assert not [each for each in recwarn if "Glyph" in str(each.message)]


def test_the_summary_says_what_a_user_asks_first():
    text = summary(DOCUMENT, 0.02)
    assert "4 candidates (1 beyond the budget, 1 failed) in 12 s" in text
    assert "accuracy on the test split 0.9600 (dense 0.9800)" in text
    assert 'autoprune.load("runs/x/models/1")' in text


def test_a_budget_within_the_noise_is_said_to_be_uncertain():
    near = Trial(4, Plan.of({"g": 6}), TrialState.COMPLETE, measured(0.97, 0.0048), {"latency": 0.056})
    front = Front.of([*TRIALS, near], FRONT.objectives)
    made = document(
        run="r", task="t", seed=0, seconds=1.0, devices={"": {}}, budget=BUDGET, objectives=[], trials=TRIALS,
        dense=measured(0.99, 0.01), front=front, partial=False, test={},
    )  # fmt: skip
    assert [point["trial"] for point in made["front"] if point["uncertain"]] == [4]
    row = next(line for line in front_table(made).splitlines() if " 4 " in line[:12])
    assert row.startswith("~")
    assert "~ uncertain: its interval reaches beyond the budget" in front_table(made).splitlines()[-1]


def test_the_best_possible_is_told_with_its_interval():
    assert closest(DOCUMENT, BUDGET) == "best possible latency 3 ms [2.7 ms, 3.3 ms]"


def test_the_picture_is_a_png():
    assert front_picture("t", TRIALS, measured(0.99, 0.01), FRONT, BUDGET).startswith(b"\x89PNG")


def on_two(accuracy, seconds):
    """As `measured`, on a device that takes ten times as long, too."""
    found = measured(accuracy, seconds)
    slow = {
        key: replace(each, value=10 * each.value, low=10 * each.low, high=10 * each.high) for key, each in found.items()
    }
    return {**found, "latency@pi": slow["latency"], "latency.relative@pi": found["latency.relative"]}


def test_each_cost_has_a_panel_with_its_budget():
    budget = Budget.parse("latency=5ms", "latency@pi=45ms")
    trials = [replace(trial, measurements=on_two(0.95, 0.004)) for trial in TRIALS[:2]]
    front = Front.of(trials, (QUALITY, COSTS["latency"], cost("latency@pi")))
    figure = front_figure("t", trials, on_two(0.99, 0.01), front, budget)
    assert [axes.get_xlabel() for axes in figure.axes] == ["latency [ms]", "latency@pi [ms]"]
    shown = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    assert "budget latency<=5ms" in shown[0]
    assert "budget latency@pi<=45ms" in shown[1]
    assert "budget latency<=5ms" not in shown[1]


def test_the_table_has_a_column_a_device():
    head = front_table({**DOCUMENT, "dense": {"metrics": metrics(on_two(0.99, 0.01))}}).splitlines()[0].split("  ")
    assert [each.strip() for each in head if each.strip()] == [
        "trial", "accuracy", "latency", "latency@pi", "of dense", "of dense@pi",
    ]  # fmt: skip


def test_picture_tells_small_models_apart():
    hopeless = Trial(9, Plan.of({"g": 1}), TrialState.COMPLETE, measured(0.02, 0.002), {"latency": -0.5})
    (axes,) = front_figure("t", [*TRIALS, hopeless], measured(0.99, 0.05), FRONT, BUDGET).axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] < 2.7
    assert axes.get_xlim()[1] > 50
    assert axes.get_ylim()[0] > 0.8
    assert "1 trial lies outside" in [text.get_text() for text in axes.texts]


def test_costs_that_are_alike_are_drawn_from_zero():
    (axes,) = front_figure("t", TRIALS, measured(0.99, 0.01), FRONT, BUDGET).axes
    assert axes.get_xscale() == "linear"
    assert axes.get_xlim()[0] == 0


def test_a_limit_that_nothing_met_is_inside_of_the_picture():
    (axes,) = front_figure("t", TRIALS, measured(0.99, 0.1), FRONT, Budget.parse("latency=1ms")).axes
    assert axes.get_xlim()[0] < 1
