"""What a run tells of its models and of its decisions, for people and for hubs."""

import re

import yaml

from autoprune.report.decisions import decisions
from autoprune.report.model_card import model_card
from autoprune.store.reading import read_run
from tests.report.runs import change, make_run

STORED = (
    '# Trial 1 of a search on `a task`\n\n```python\nmodel = autoprune.load("x")\n```\n\nSlices kept:\n\n- `stem`: 16\n'
)


def card_of(record, trial):
    return model_card(record, record.front, trial, STORED)


def test_a_card_has_what_hubs_read_and_what_people_ask(tmp_path):
    record = read_run(make_run(tmp_path / "demo"))
    best = record.front["best"]
    card = card_of(record, best)
    head = yaml.safe_load(card.split("---")[1])
    (index,) = head["model-index"]
    assert index["name"] == f"demo-{best}"
    assert [each["dataset"]["split"] for each in index["results"]] == ["validation", "test"]
    assert index["results"][1]["metrics"] == [{"type": "accuracy", "value": 0.96}]
    assert card.index("The best of its search within the budget (median latency at most 5 ms)") < card.index(
        "Slices kept"
    )
    assert "| accuracy | test | 0.97 [0.96, 0.98] | 0.96 [0.95, 0.97] |" in card
    candidate = record.trials[best]["metrics"]["accuracy"]["value"]
    assert f"| accuracy | search, before fine-tuning | 0.97 [0.96, 0.98] | {candidate:.4g} [" in card
    assert "Qualities are of 1000 samples of the validation split and 1000 samples of the test split." in card
    assert "- `head`: it is an output of the model" in card
    assert "- fine-tuned: 6 epochs" in card
    assert "- cut from: a dense model whose weights have the fingerprint `a model`" in card
    assert "autoprune search 'a task'" in card


def test_a_model_that_is_not_the_best_says_so(tmp_path):
    record = read_run(make_run(tmp_path / "demo"))
    others = [point for point in record.front["front"] if point["trial"] != record.front["best"]]
    for point in others:
        card = card_of(record, point["trial"])
        assert ("another model of its search is the best" in card) == point["feasible"]
        assert "it was not scored on the test split" in card
        assert "| test |" not in card


def test_a_model_of_a_search_that_was_stopped_is_not_called_finished(tmp_path):
    record = read_run(change(make_run(tmp_path / "de mo"), partial=True, test={}))
    card = card_of(record, record.front["best"])
    assert "it was repaired but not fine-tuned" in card
    assert "the search split chose" in card
    assert "it was not scored on the test split" in card
    assert f"autoprune check '{record.path}/models/{record.front['best']}' --budget 'latency<=5ms'" in card
    assert "## Among which candidates" in decisions(record)


def test_decisions_are_told_with_their_evidence(tmp_path):
    told = decisions(read_run(make_run(tmp_path / "demo")))
    assert "median latency at most 5 ms. Traded off: accuracy, latency." in told
    assert (
        "`auto`, on a forecast that took 3 s; one standard deviation of what it says of whole models: latency to 1.0%"
        in told
    )
    assert "- 4 times, such as: the loss was <b>no number</b>" in told
    assert re.search(r"- dp: \d+ proposed, \d+ of them dismissed and \d failed; \d+ within the limits", told)
    assert re.search(r"9 candidates: trials \(epochs\) \d+ \(6\)", told)
    begun = decisions(read_run(make_run(tmp_path / "begun", ended=False)))
    assert "no model is finished yet" in begun
