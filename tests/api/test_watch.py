"""A page that follows its search, as it is served."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import httpx
import pytest

from autoprune.api import watch as serving
from tests.report.runs import make_run

pytestmark = pytest.mark.skipif(find_spec("plotly") is None, reason="plotly is not installed")


@pytest.fixture
def watched(tmp_path):
    """`autoprune watch` in a process of its own, on a free port; its address."""
    started = []

    def start(run, *options, host="127.0.0.1"):
        command = [sys.executable, "-m", "autoprune", "watch", str(run), "--bind", f"{host}:0", *map(str, options)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}))
        said = ""
        while "watching at" not in said:
            line = started[-1].stderr.readline()
            assert line, said
            said += line
        return re.search(r"http://\S+?/", said)[0].replace("0.0.0.0", "127.0.0.1")  # noqa: S104

    yield start
    for process in started:
        process.terminate()
        assert process.wait(20) == 0
        process.stderr.close()


def test_the_page_and_news_of_it(watched, tmp_path):
    run = make_run(tmp_path / "demo", trials=20, ended=False)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    url = watched(run)
    page = httpx.get(url)
    assert page.status_code == 200
    assert 'data-live="True"' in page.text
    news = httpx.get(f"{url}data.json")
    tag = {"if-none-match": news.headers["etag"]}
    assert len(news.json()["runs"][0]["trials"]["number"]) == 20
    assert httpx.get(f"{url}data.json", headers=tag).status_code == 304
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    row = {**json.loads((run / "measurements.jsonl").read_text().splitlines()[0]), "trial": 99}
    with (run / "measurements.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    news = httpx.get(f"{url}data.json", headers=tag)
    assert news.json()["runs"][0]["trials"]["number"][-1] == 99
    assert httpx.get(f"{url}run.yaml").status_code == 404
    assert httpx.get(f"{url}data.json", headers={"host": "evil.example"}).status_code == 400
    assert httpx.post(url).status_code == 501


def test_others_need_the_token(watched, tmp_path):
    run, secret = make_run(tmp_path / "demo", trials=20), tmp_path / "token"
    url = watched(run, "--token-file", secret, host="0.0.0.0")  # noqa: S104
    token = secret.read_text().strip()
    for wrong in (url, f"{url}data.json", f"{url}?token=x", f"{url}data.json?token=ä"):
        assert httpx.get(wrong).status_code == 401
    with httpx.Client(follow_redirects=True) as browser:
        page = browser.get(f"{url}?token={token}")
        assert page.status_code == 200
        assert token not in str(page.url)
        assert browser.get(f"{url}data.json").status_code == 200
    assert httpx.get(f"{url}data.json", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_a_token_may_have_any_characters(watched, tmp_path):
    run, secret, token = make_run(tmp_path / "demo", trials=20), tmp_path / "token", 'a token; with "all" of, them'
    secret.write_text(token)
    secret.chmod(0o600)
    url = watched(run, "--token-file", secret)
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(url, params={"token": token}).status_code == 200
        assert token not in str(browser.cookies)
        assert browser.get(f"{url}data.json").status_code == 200


def test_the_usual_port_is_that_of_watch_where_only_a_host_is_given(told, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(serving, "watch", lambda runs, settings, say: asked.append(settings))
    assert told("watch", tmp_path, "--bind", "127.0.0.1")[0] == 0
    assert [each.port for each in asked] == [7334]


def test_an_open_address_without_a_token_is_refused(told, tmp_path):
    code, _, said = told("watch", make_run(tmp_path / "demo", trials=20), "--bind", "0.0.0.0:0")
    assert code == 2
    assert "--token-file" in said
    code, _, said = told("watch", tmp_path / "nothing")
    assert code == 6
    assert "run.yaml" in said
