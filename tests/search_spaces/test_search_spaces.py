import pytest

from autoprune import search_spaces
from autoprune.core.group import Group
from autoprune.errors import UsageError

GOOD = "match: []\nkinds: [channel]\nfrozen: []\nstep: 8\nfloor: 8\nkeep_ratios: [1.0, 0.5]\ntied: []\npriority: 1\n"


def test_every_shipped_search_space_reads():
    for name in search_spaces.names():
        assert search_spaces.choose(name, []).name == name


def test_search_space_is_chosen_by_the_models_modules():
    assert search_spaces.choose(None, ["Linear", "Conv2d"]).name == "cnn"
    assert search_spaces.choose(None, ["Linear"]).name == "default"


def test_a_pattern_needs_no_quotes(tmp_path):
    (tmp_path / "f.yaml").write_text("kinds: [weight]\nkeep_ratios: [1.0, 0.5]\npattern: 2:4\nstep: 8\n")
    found = search_spaces.choose(str(tmp_path / "f.yaml"), [])
    assert (found.pattern, found.step) == ("2:4", 8)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'encoder'"):
        search_spaces.choose("encodr", [])


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch ran']", "a: &x [1]\nb: *x", "- 1", GOOD + "more: 1", GOOD.replace("keep_ratios: [1.0, 0.5]\n", ""),
        GOOD.replace("step: 8", "step: 0"), GOOD.replace("step: 8", "step: true"), GOOD.replace("[1.0, 0.5]", "[1.5]"),
        GOOD.replace("[1.0, 0.5]", "[]"), GOOD.replace("step: 8", "step: {chanel: 8}"), GOOD.replace("tied: []", "tied: ['(']"), GOOD.replace("[channel]", "[chanel]"), GOOD.replace("[channel]", "[channel, precision]"), GOOD.replace("frozen: []", "frozen: ['(']"),
        GOOD + "step: 4", GOOD + "note: !!int foo", GOOD + "note: !!timestamp foo", "{", "x" * (1 << 21), "[" * 5000,
    ],
)  # fmt: skip
def test_files_that_are_no_search_space_are_refused_unexecuted(tmp_path, text):
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(UsageError) as refused:
        search_spaces.choose(str(tmp_path / "f.yaml"), [])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("classes", "config"),
    [
        (["Conv2d", "BatchNorm2d", "Linear"], "cnn"), (["MobileNetV2Model", "Conv2d"], "mobile"),
        (["VisionTransformer", "PatchEmbed", "Conv2d"], "vision_transformer"), (["ViTForImageClassification", "Conv2d"], "vision_transformer"),
        (["BertForSequenceClassification", "BertLayer"], "encoder"), (["LlamaForCausalLM", "LlamaDecoderLayer"], "decoder"),
        (["GPT2LMHeadModel", "GPT2Block"], "decoder"), (["LSTM", "Embedding", "Linear"], "recurrent"),
        (["TransformerEncoderLayer", "Linear"], "encoder"), (["Linear", "ReLU"], "default"),
    ],
)  # fmt: skip
def test_models_find_their_search_space(classes, config):
    assert search_spaces.choose(None, classes).name == config


def test_what_a_file_leaves_out_is_usual(tmp_path):
    (tmp_path / "own.yaml").write_text("kinds: [neuron]\nkeep_ratios: [1.0, 0.5]\n")
    own = search_spaces.choose(str(tmp_path / "own.yaml"), [])
    assert (own.step, own.floor, own.tied, own.frozen) == (1, 1, (), ())


def test_steps_may_differ_by_kind(tmp_path):
    (tmp_path / "own.yaml").write_text("kinds: [neuron, head]\nkeep_ratios: [1.0, 0.5]\nstep: {neuron: 16}\n")
    own = search_spaces.choose(str(tmp_path / "own.yaml"), [])
    assert own.step_of(Group("a", "neuron", 64, ())) == 16
    assert own.step_of(Group("b", "head", 12, ())) == 1


def test_a_file_that_was_written_for_an_earlier_version_still_counts(tmp_path):
    (tmp_path / "own.yaml").write_text("kinds: [neuron]\nladder: [1.0, 0.5]\n")
    with pytest.warns(DeprecationWarning, match="keep_ratios"):
        assert search_spaces.choose(str(tmp_path / "own.yaml"), []).keep_ratios == (1.0, 0.5)
    (tmp_path / "own.yaml").write_text("kinds: [neuron]\nladder: [1.0]\nkeep_ratios: [1.0, 0.5]\n")
    with pytest.raises(UsageError, match="ladder"):
        search_spaces.choose(str(tmp_path / "own.yaml"), [])
