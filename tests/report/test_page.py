"""The page of a report, as a file: what is in it, and what must not be."""

import ast
import json
import re
import shlex
from importlib.util import find_spec

import pytest
import yaml

from autoprune.errors import StorageError, UsageError
from autoprune.report import page as pages
from autoprune.report.page import encoded, report
from tests.report.runs import change, make_run, rename

plotly = pytest.mark.skipif(find_spec("plotly") is None, reason="plotly is not installed")
EVIL = "</script><script>window.stolen=1</script><!--"


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S).group(1))


@plotly
def test_one_file_that_asks_nobody(tmp_path, told):
    run = make_run(tmp_path / "demo")
    code, out, _ = told("report", run)
    assert (code, out.strip()) == (0, str(run / "report.html"))
    html = (run / "report.html").read_text()
    assert len(html.encode()) < 5e6
    assert not re.search(r'(?:src|href)="(?!data:)', html[: html.index("plotly.js v")])
    assert "connect-src 'none'" in html
    data = data_of(html)
    assert [each["name"] for each in data["runs"]] == ["demo"]
    assert len(data["runs"][0]["trials"]["number"]) == 64


@plotly
def test_names_of_a_user_are_text(tmp_path):
    run = make_run(tmp_path / "a<b>&", names=[EVIL, "x'\"\u2028"], task=EVIL)
    html = report([run]).decode()
    ours = html[: html.index("plotly.js v")] + html[html.rindex("<script>") :]
    assert EVIL not in ours
    assert "<title>a&lt;b&gt;&amp; - autoprune</title>" in html
    assert data_of(html)["runs"][0]["task"] == EVIL
    assert encoded({"a": EVIL + "\u2028"}).isascii()


def test_the_verdict_says_what_is_best_and_why_and_whether_it_is_certain(tmp_path):
    said = dict(page_of(make_run(tmp_path / "demo"))["said"])
    assert re.match(
        r"trial \d+: of \d finished models the best within the budget in accuracy, 0\.9\d+ \[", said["Best"]
    )
    assert said["Within the budget"].startswith("asked median latency at most 5 ms, it has 4.")
    assert "of the parameters" in said["Smaller"]
    assert re.match(r"\d+ of 12 groups of slices are narrower, [01] of 1 layers that may go are dropped", said["Cut"])
    assert said["Certain?"] == (
        "the worse end of its 95 % interval of latency is within the budget; "
        "accuracy on the 1000 samples of the test split 0.96 [0.95, 0.97], dense 0.97 [0.96, 0.98]"
    )


@pytest.mark.parametrize("budget", [[], ["accuracy>=-5%"], ["params<=50%"]])
def test_no_interval_is_held_against_a_budget_that_does_not_name_it(tmp_path, budget):
    said = dict(page_of(change(make_run(tmp_path / "demo"), budget=budget))["said"])
    assert "within the budget" not in said["Certain?"]
    assert "test split" in said["Certain?"]


def test_a_search_that_was_stopped_has_candidates_and_no_finished_models(tmp_path):
    run = change(make_run(tmp_path / "demo"), partial=True, test={})
    shown = page_of(run)
    assert shown["front"]
    assert not any(point["finished"] for point in shown["front"])
    said = dict(shown["said"])
    assert said["Stopped early"] == "the search was stopped: its models are as repaired"
    assert re.match(
        r"trial \d+: of \d candidates, not fine-tuned, the best within the budget in accuracy", said["Best"]
    )
    assert not any("finished" in text for text in said.values())


def page_of(run):
    from autoprune.report.page_data import page_data
    from autoprune.store.reading import read_run

    return page_data(read_run(run))


def test_a_search_that_goes_on_is_shown_as_far_as_it_is(tmp_path):
    run = make_run(tmp_path / "demo", ended=False)
    with (run / "measurements.jsonl").open("a") as file:
        file.write('{"stage": "search", "tri')  # another process is writing that line
    before = (run / "measurements.jsonl").read_bytes()
    shown = page_of(run)
    assert (run / "measurements.jsonl").read_bytes() == before
    assert "no model is finished yet" in dict(shown["said"])["State"]
    assert shown["front"]
    assert not any(point["finished"] for point in shown["front"])
    assert shown["stages"] == [("forecast", 8.0)]


def test_what_a_group_costs_and_saves_is_what_the_forecast_says(tmp_path):
    shown = page_of(make_run(tmp_path / "demo"))
    dense = 1e-3 + 12 * 8e-4
    assert shown["effects"]["stem"]["16"] == {"saved": {"latency": round(8e-4 / dense, 4)}, "loss": 0.3}
    assert shown["effects"]["body.1"]["0"]["loss"] == 0.05
    order = [group["name"] for group in shown["groups"]]
    assert order.index("body.1") + 1 == order.index("body.1.conv0")
    assert {g["name"]: g["layer"] for g in shown["groups"]}["body.1.conv2"] == "body.1"


def test_what_each_layer_takes_adds_up_to_what_was_measured(tmp_path):
    shown = page_of(make_run(tmp_path / "demo"))
    layers, point = shown["module_costs"]["latency"], shown["front"][0]
    assert layers["names"][0] == "stem"
    assert sum(layers["dense"]) == pytest.approx(0.012, rel=1e-3)
    pruned = layers["models"][point["trial"]]
    assert sum(pruned) == pytest.approx(point["metrics"]["latency"][0], rel=1e-3)
    kept = point["plan"]["stem"]
    unstretched = {16: 2e-5, 32: 2.2e-4, 48: 5.2e-4, 64: 8.2e-4}
    assert pruned[0] / pruned[-1] == pytest.approx(unstretched[kept] / (1e-3 - 12 * 2e-5), rel=1e-2)


def test_slices_are_told_from_the_most_important_to_the_least(tmp_path):
    run = make_run(tmp_path / "demo")
    stem = page_of(run)["importance"]["stem"]
    harmonic = sum(1 / (1 + place) for place in range(64))
    assert stem["step"] * len(stem["shares"]) == 64
    assert stem["shares"][0] == pytest.approx((1 + 1 / 2) / harmonic, rel=1e-2)
    assert sum(stem["shares"]) == pytest.approx(1, rel=1e-2)
    assert "head" not in page_of(run)["importance"]
    (run / "ranking.safetensors").write_bytes(b"cut off")
    with pytest.raises(StorageError, match=r"ranking\.safetensors"):
        page_of(run)


def test_who_proposed_which_candidates_is_counted(tmp_path):
    shown = page_of(make_run(tmp_path / "demo"))
    rows = {row["name"]: row for row in shown["proposers"]}
    assert list(rows) == ["ends of the space", "dp", "auto", "local"]  # auto: where nobody said more
    assert sum(row["proposed"] for row in rows.values()) == 64
    states = shown["trials"]["state"]
    assert sum(row["screened"] for row in rows.values()) == states.count("s") > 0
    assert sum(row["front"] for row in rows.values()) == len(shown["front"])
    assert sum(row["gain"] for row in rows.values()) == pytest.approx(shown["progress"][-1][2], abs=1e-3)
    first = shown["trials"]["proposer"][0]
    assert shown["proposers"][first]["name"] == "ends of the space"


def test_runs_without_a_subject_or_a_forecast_are_shown_all_the_same(tmp_path):
    run = make_run(tmp_path / "demo")
    (run / "subject.json").unlink()
    (run / "forecast.json").unlink()
    (run / "ranking.safetensors").unlink()
    shown = page_of(run)
    assert shown["effects"] == shown["module_costs"] == shown["importance"] == {}
    assert {group["size"] for group in shown["groups"]} == {64, 1}


def test_the_command_repeats_the_search(tmp_path):
    command = dict(page_of(make_run(tmp_path / "demo", task="my task.py:task", trials=16, seed=3))["commands"])
    assert command["search again"] == (
        "autoprune search 'my task.py:task' --budget 'latency<=5ms' --objective accuracy --objective latency "
        "--seed 3 --trials 16"
    )


def test_commands_are_words_of_a_shell_and_of_python(tmp_path):
    run = make_run(tmp_path / 'a "b"', trials=20)
    said = dict(page_of(run)["commands"])
    assert shlex.split(said["this page again"]) == ["autoprune", "report", str(run)]
    best = json.loads((run / "front.json").read_text())["best"]
    (loaded,) = ast.parse(said["load the best, in Python"], mode="eval").body.args
    assert ast.literal_eval(loaded) == f"{run}/models/{best}"


def test_what_the_command_cannot_say_is_told(tmp_path):
    run = make_run(tmp_path / "demo", trials=20)
    recipe = yaml.safe_load((run / "run.yaml").read_text())
    more = {"plans": [{"stem": 16}], "space": {"name": "cnn", "round_to": 8}, "only": ["stem"]}
    (run / "run.yaml").write_text(yaml.safe_dump(recipe | more, sort_keys=False))
    shown = page_of(run)
    command = dict(shown["commands"])["search again"]
    assert "--only stem" in command
    assert "--plan" not in command
    assert "--space" not in command
    left = [text for name, text in shown["facts"] if name == "not in the command"]
    assert left == ["space, which run.yaml has", "plans, which run.yaml has"]


@pytest.mark.slow
@plotly
def test_ten_thousand_trials_are_less_than_eight_megabytes(tmp_path):
    assert len(report([make_run(tmp_path / "demo", trials=10_000, groups=20)])) < 8e6


@plotly
def test_several_runs_on_one_page(tmp_path, told):
    runs = [make_run(tmp_path / name, seed=seed, trials=20) for seed, name in enumerate("ab")]
    code, *_ = told("report", *runs, "--output", tmp_path / "both.html")
    assert code == 0
    data = data_of((tmp_path / "both.html").read_text())
    assert [each["name"] for each in data["runs"]] == ["a", "b"]
    assert data["warnings"] == []


def test_different_devices_are_told(tmp_path):
    runs = [make_run(tmp_path / name, trials=20) for name in "ab"]
    recipe = runs[1] / "run.yaml"
    recipe.write_text(recipe.read_text().replace("a device", "another one"))
    from autoprune.report.verdict import warnings
    from autoprune.store.reading import read_run

    assert "different devices (a device, another one)" in warnings([read_run(run) for run in runs])[0]


def test_different_qualities_are_told(tmp_path):
    from autoprune.report.verdict import warnings
    from autoprune.store.reading import read_run

    runs = [make_run(tmp_path / name, trials=20) for name in "ab"]
    rename(runs[1], "accuracy", "iou")
    assert "different qualities (accuracy, iou)" in warnings([read_run(run) for run in runs])[0]


@plotly
def test_no_run(tmp_path):
    with pytest.raises(StorageError, match=r"run\.yaml"):
        report([tmp_path])


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(UsageError, match=r"pip install 'autoprune\[report\]'"):
        pages.report([make_run(tmp_path / "demo", trials=20)])
