import inspect

import pytest

import autoprune
from autoprune.errors import UsageError
from autoprune.options import keywords
from autoprune.options.described import described
from autoprune.options.option import HOW, HOW_LONG, WHAT, WHERE
from autoprune.options.search_options import SearchOptions


def test_every_option_has_help_a_section_and_a_legal_default():
    SearchOptions()
    for item, option in described():
        assert option.help.endswith("."), item.name
        assert option.panel in (WHAT, HOW, WHERE, HOW_LONG)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1}, {"seed": 2**32}, {"seed": True}, {"trials": 0}, {"finalists": 0}, {"finetune_epochs": -1},
        {"timeout": "-3s"}, {"workers": -1}, {"gpus": -0.5}, {"address": "nowhere"}, {"batch": -1}, {"threads": 0},
        {"precision": "int3"}, {"on_device_loss": "cry"},
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(UsageError):
        SearchOptions(**wrong)


def test_python_shows_each_option_with_its_help():
    taken = inspect.signature(autoprune.search).parameters
    assert taken["trials"].default == 64
    assert {item.name for item, _ in described()} <= taken.keys()
    assert "finetune_epochs: Fine-tuning of each finished model." in autoprune.search.__doc__
    assert "trials" not in inspect.signature(autoprune.finetune).parameters


def test_a_misspelt_option_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'finalists'"):
        autoprune.search("digits", finalist=3)


def test_an_old_name_is_taken_for_one_release_more():
    with pytest.warns(DeprecationWarning, match="finetune_epochs"):
        assert keywords.renamed({"epochs": 3}) == {"finetune_epochs": 3}
    with pytest.raises(UsageError, match="leave out epochs"):
        keywords.renamed({"epochs": 3, "finetune_epochs": 2})


def test_no_options_of_the_sampler_may_be_said_as_none():
    from autoprune.engine.settings import Settings

    assert Settings.settled(SearchOptions(sampler_options=None)).sampler_options == {}


@pytest.mark.parametrize("command", ["search", "resume"])
def test_help_lists_options_under_headings_and_flags_have_an_opposite(command, capsys):
    from autoprune.cli import main

    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    headings = [
        heading for heading in ("What is searched:", "Where:", "How long:", "Output:", "Options:") if heading in text
    ]
    assert headings == sorted(headings, key=text.index)
    assert "Output:" in headings
    assert "--no-dashboard" in text
