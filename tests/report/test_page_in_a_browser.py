"""The page of a report as people use it: in a real browser, with mouse and keys. Skipped where there is none."""

import json
import re
import shutil
from importlib.util import find_spec

import pytest

from autoprune.report.page import report
from tests.report.runs import change, make_run, rename

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(
        find_spec("plotly") is None or find_spec("selenium") is None, reason="needs plotly and selenium"
    ),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium here"),
]
EVIL = "<img src=x onerror=window.stolen=1></script><script>window.stolen=1</script>"


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page of these runs, in a window of that width; the driver."""

    def open_(*runs, width=1280):
        page = tmp_path / "page.html"
        page.write_bytes(report(runs))
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.get(page.as_uri())
        return browser

    yield open_
    said = [each for each in browser.get_log("browser") if "GPU stall" not in each["message"]]
    assert said == []


def at(driver, selector):
    from selenium.webdriver.common.by import By

    return driver.find_element(By.CSS_SELECTOR, selector)


def title(driver):
    return at(driver, "#model-title").text


def ranges(driver):
    return driver.execute_script(
        "const {xaxis, yaxis} = document.getElementById('front').layout; return [xaxis.range, yaxis.range]"
    )


def mouse(driver):
    from selenium.webdriver.common.action_chains import ActionChains

    return ActionChains(driver, duration=50)


def until(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 60, poll_frequency=0.05).until(condition)


def point(driver, trial):
    """Where a finished model is drawn."""
    return driver.execute_script(
        "const chart = document.getElementById('front'), trace = chart.data.findIndex((each) => each.error_x);"
        "const at = chart.data[trace].customdata.findIndex((each) => each[1] === arguments[0]);"
        "return chart.querySelectorAll('.scatterlayer .trace')[trace].querySelectorAll('.point')[at]",
        trial,
    )


def models(driver):
    """Trials of the finished models from left to right, and the best of them."""
    return driver.execute_script(
        "const { front } = state.runs[0]; return [front.map((each) => each.trial), front.find((each) => each.best).trial]"
    )


def test_mouse_and_keys_choose_a_model(opened, tmp_path):
    from selenium.webdriver.common.keys import Keys

    driver = opened(make_run(tmp_path / "demo"))
    trials, best = models(driver)
    assert title(driver) == f"Trial {best}, the best within the budget"
    other = trials[0]
    mouse(driver).move_to_element(point(driver, other)).perform()
    label = until(driver, lambda _: at(driver, "#front .hoverlayer .hovertext").text)
    assert f"trial {other}" in label
    assert "accuracy: " in label
    mouse(driver).click().perform()
    until(driver, lambda _: title(driver) == f"Trial {other}")
    assert driver.current_url.endswith(f"#0/{other}")
    assert "16 of 64" in at(driver, "#network").text or "32 of 64" in at(driver, "#network").text
    assert driver.execute_script("return document.getElementById('training').data.length") == 2
    assert at(driver, "#inside-title").text == f"Inside trial {other}"
    assert re.search(r"whole model\s+12 → \d+\.\d+", at(driver, "#modules").text)
    assert re.search(r"local( \d+){6}", at(driver, "#proposers").text)
    assert at(driver, "#importance svg").get_attribute("aria-label").startswith("stem: ")
    at(driver, "#front").send_keys(Keys.ARROW_RIGHT)
    assert title(driver).startswith(f"Trial {trials[1]}")
    at(driver, "#front").send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    assert title(driver).startswith(f"Trial {trials[1] + 1}")
    at(driver, "#models tr.pick:last-child button").click()
    assert title(driver).startswith(f"Trial {trials[-1]}")


@pytest.mark.slow
def test_the_front_can_be_looked_at_closely_and_as_a_whole(opened, tmp_path):
    driver = opened(make_run(tmp_path / "demo"))
    first, chart = ranges(driver), at(driver, "#front")
    mouse(driver).move_to_element_with_offset(chart, -100, -100).click_and_hold().move_by_offset(
        150, 120
    ).release().perform()
    until(driver, lambda _: ranges(driver) != first)
    closer = ranges(driver)
    assert closer[0][0] > first[0][0]
    assert closer[0][1] < first[0][1]
    chart.send_keys("0")
    until(driver, lambda _: ranges(driver) == first)
    chart.send_keys("9")
    until(driver, lambda _: ranges(driver)[1][0] < first[1][0])
    at(driver, "#y option[value='params']").click()
    assert driver.execute_script("return document.getElementById('front').layout.yaxis.title.text") == "params [k]"


def test_a_narrow_window_in_the_dark(opened, browser, tmp_path):
    def inks():
        return browser.execute_script(
            "return [getComputedStyle(document.body).backgroundColor, document.getElementById('front').layout.font.color]"
        )

    driver = opened(
        make_run(tmp_path / "a_long_name_of_a_run_that_somebody_chose_without_thinking", trials=20), width=400
    )
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 400
    assert at(driver, "#front .plotly").size["width"] > 350
    light = inks()
    wanted = [{"name": "prefers-color-scheme", "value": "dark"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
    try:
        until(driver, lambda _: all(before != now for before, now in zip(light, inks(), strict=True)))
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_what_a_user_wrote_runs_nowhere(opened, tmp_path):
    driver = opened(make_run(tmp_path / "demo", names=[EVIL, "%{x} <b>bold</b>"], task=EVIL))
    driver.execute_script("drawLate('levels'); drawLate('volume')")
    assert driver.execute_script("return window.stolen") is None
    assert EVIL in at(driver, "#facts").text
    assert "%{x} <b>bold</b>" in at(driver, "#network").text


@pytest.mark.slow
def test_several_runs_are_on_the_same_axes(opened, tmp_path):
    driver = opened(*(make_run(tmp_path / name, seed=seed, trials=40) for seed, name in enumerate(("one", "two"))))
    named = driver.execute_script("return document.getElementById('front').data.map((each) => each.name)")
    assert {f"finished models, 95 % intervals ({name})" for name in ("one", "two")} <= set(named)
    at(driver, "#models tbody tr:last-child button").click()
    assert title(driver).startswith("Trial ")
    assert " of two" in title(driver)


@pytest.mark.slow
def test_arrows_pass_models_that_are_not_drawn(opened, tmp_path):
    from selenium.webdriver.common.keys import Keys

    run = make_run(tmp_path / "demo", trials=40, groups=4)
    front = json.loads((run / "front.json").read_text())
    having = [front["dense"], *front["front"][:2]]
    for each in having:
        each["metrics"]["latency.worst"] = each["metrics"]["latency"]
    driver = opened(change(run, front=front["front"], dense=front["dense"]))
    assert len(models(driver)[0]) > 2
    at(driver, "#x option[value='latency.worst']").click()
    passed = set()
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        at(driver, "#front").send_keys(key)
        passed.add(title(driver).removesuffix(", the best within the budget"))
    assert passed == {f"Trial {point['trial']}" for point in front["front"][:2]}


@pytest.mark.slow
def test_runs_without_a_common_quality_open_on_two_metrics(opened, tmp_path):
    runs = [make_run(tmp_path / name, trials=20, groups=4) for name in ("one", "two")]
    rename(runs[1], "accuracy", "iou")
    driver = opened(*runs)
    x, y = driver.execute_script("return [state.x, state.y]")
    assert x == "latency"
    assert y not in ("latency", "accuracy", "iou")
    assert "different qualities (accuracy, iou)" in at(driver, "#notice").text


@pytest.mark.slow
def test_a_unit_is_text(opened, tmp_path):
    run = make_run(tmp_path / "demo", trials=20, groups=4)
    unit = '<a href="https://evil.example">x</a>'
    for path in run.glob("*.json*"):
        path.write_text(path.read_text().replace('"unit": "s"', f'"unit": {json.dumps(unit)}'))
    driver = opened(run)
    driver.execute_script("drawLate('levels')")
    mouse(driver).move_to_element(point(driver, models(driver)[0][0])).perform()
    label = until(driver, lambda _: at(driver, "#front .hoverlayer .hovertext").text)
    assert unit in label
    assert driver.execute_script("return document.querySelectorAll('svg a').length") == 0


@pytest.mark.slow
def test_a_search_that_was_stopped_shows_no_finished_model(opened, tmp_path):
    driver = opened(change(make_run(tmp_path / "demo", trials=40, groups=4), partial=True, test={}))
    named = driver.execute_script("return document.getElementById('front').data.map((each) => each.name)")
    assert "front so far" in named
    assert "finished" not in at(driver, "#about").text


@pytest.mark.slow
def test_a_page_that_is_served_follows_its_search(browser, tmp_path):
    from threading import Thread

    from autoprune.agent.settings import AgentSettings
    from autoprune.api.watch import page_server

    run = make_run(tmp_path / "demo", trials=20, ended=False)
    whole = (run / "measurements.jsonl").read_text()
    (run / "measurements.jsonl").write_text("")
    (run / "dense.json").rename(tmp_path / "dense.json")  # as before anything was measured
    with page_server([run], AgentSettings(port=0)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        browser.get(f"http://127.0.0.1:{server.server_address[1]}/")
        assert "0 candidates" in at(browser, "#verdicts").text
        (tmp_path / "dense.json").rename(run / "dense.json")
        (run / "measurements.jsonl").write_text(whole)
        until(browser, lambda _: "Trial" in title(browser))
        assert not at(browser, "#notice").text
        assert "no model is finished yet" in at(browser, "#verdicts").text
        assert at(browser, "#front .plotly").is_displayed()
        browser.get("about:blank")  # which asks for no news
        server.shutdown()


@pytest.mark.slow
def test_ten_thousand_trials_open(opened, tmp_path):
    driver = opened(make_run(tmp_path / "demo", trials=10_000, groups=20))
    assert driver.execute_script("return document.getElementById('front').data[1].x.length") > 1000
    driver.execute_script("drawLate('levels')")
    assert "candidates are drawn" in at(driver, "#levels-left").text
