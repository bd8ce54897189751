import sys
from importlib import metadata

import pytest

from autoprune import registry
from autoprune.errors import DeviceError, UsageError


def test_listing_names_imports_nothing():
    before = set(sys.modules)
    assert {"auto", "random"} < set(registry.names("samplers"))
    assert set(sys.modules) == before


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_built_in_name_loads_or_says_what_to_install(kind):
    for name in registry.names(kind):
        try:
            module = registry.load(kind, name)
        except DeviceError as error:  # its library is not part of the development set
            told = str(error)
        else:
            told = module.__name__.replace("_", "-")
        assert told.endswith((name, f"pip install 'autoprune[{name}]'"))


def test_a_typo_is_answered_with_the_nearest_name_and_all_known_ones():
    with pytest.raises(
        UsageError,
        match="a known sampler; received 'nsga'; did you mean 'nsga3'. known: annealing, auto, .*, random, tpe, uniform",
    ):
        registry.load("samplers", "nsga")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("acc", "did you mean 'accuracy'? "),  # the only one that begins so
        ("accuracies", "did you mean 'accuracy'? "),
        ("l", ""),
        ("loss", ""),
    ],
)
def test_the_name_that_was_meant_is_suggested(name, hint):
    assert registry.suggestion(name, ("accuracy", "latency", "flops"), cutoff=0.7) == hint


def test_options_of_a_plug_in_are_found_by_name():
    known = {"population": "48", "tournament": "8"}
    assert registry.with_defaults("sampler", known, {"tournament": 4}) == {"population": "48", "tournament": "4"}
    for given, message in (
        ({"populaton": "9"}, "of this sampler; received populaton; did you mean 'population'. known: "),
        (3, "options of a sampler by name; received 3"),
    ):
        with pytest.raises(UsageError, match=message):
            registry.with_defaults("sampler", known, given)


def test_third_parties_register_by_entry_point(monkeypatch):
    entry = metadata.EntryPoint("mine", "autoprune.samplers.random", "autoprune.samplers")
    broken = metadata.EntryPoint("broken", "no_such_package.sampler", "autoprune.samplers")
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: [entry, broken] if group == "autoprune.samplers" else []
    )
    assert "mine" in registry.names("samplers")
    assert registry.load("samplers", "mine").__name__ == "autoprune.samplers.random"
    with pytest.raises(UsageError, match=r"no_such_package"):
        registry.load("samplers", "broken")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_plug_in_says_in_a_line_what_it_is(kind):
    for name in registry.names(kind):
        said = registry.about(kind, name)
        assert len(said) > 10
        assert "\n" not in said


def test_a_sentence_ends_with_a_full_stop_that_is_no_abbreviation():
    text = "Fast (Doe et al. 2020, eq. 3), and\nsmall. Knows nothing."
    assert registry.first_sentence(text) == "Fast (Doe et al. 2020, eq. 3), and small"


def test_a_third_party_is_told_from_without_importing_it(monkeypatch):
    entry = metadata.EntryPoint("mine", "no_such_package.sampler", "autoprune.samplers")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry])
    assert "no_such_package.sampler" in registry.about("samplers", "mine")
