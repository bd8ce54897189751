import pytest

from autoprune import search_spaces as families
from autoprune.core.group import Group
from autoprune.errors import UsageError

GOOD = "match: []\nkinds: [channel]\nfrozen: []\nstep: 8\nfloor: 8\nladder: [1.0, 0.5]\ntied: []\npriority: 1\n"


def test_every_shipped_family_reads():
    for name in families.names():
        assert families.choose(name, []).name == name


def test_a_family_is_chosen_by_the_modules_of_the_model():
    assert families.choose(None, ["Linear", "Conv2d"]).name == "cnn"
    assert families.choose(None, ["Linear"]).name == "default"


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'encoder'"):
        families.choose("encodr", [])


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch ran']", "a: &x [1]\nb: *x", "- 1", GOOD + "more: 1", GOOD.replace("ladder: [1.0, 0.5]\n", ""),
        GOOD.replace("step: 8", "step: 0"), GOOD.replace("step: 8", "step: true"), GOOD.replace("[1.0, 0.5]", "[1.5]"),
        GOOD.replace("[1.0, 0.5]", "[]"), GOOD.replace("step: 8", "step: {chanel: 8}"), GOOD.replace("tied: []", "tied: ['(']"), GOOD.replace("[channel]", "[chanel]"), GOOD.replace("frozen: []", "frozen: ['(']"),
        GOOD + "step: 4", GOOD + "note: !!int foo", GOOD + "note: !!timestamp foo", "{", "x" * (1 << 21), "[" * 5000,
    ],
)  # fmt: skip
def test_files_that_are_no_family_are_refused_and_not_executed(tmp_path, text):
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(UsageError) as refused:
        families.choose(str(tmp_path / "f.yaml"), [])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("classes", "family"),
    [
        (["Conv2d", "BatchNorm2d", "Linear"], "cnn"), (["MobileNetV2Model", "Conv2d"], "mobile"),
        (["VisionTransformer", "PatchEmbed", "Conv2d"], "vision_transformer"), (["ViTForImageClassification", "Conv2d"], "vision_transformer"),
        (["BertForSequenceClassification", "BertLayer"], "encoder"), (["LlamaForCausalLM", "LlamaDecoderLayer"], "decoder"),
        (["GPT2LMHeadModel", "GPT2Block"], "decoder"), (["LSTM", "Embedding", "Linear"], "recurrent"),
        (["TransformerEncoderLayer", "Linear"], "encoder"), (["Linear", "ReLU"], "default"),
    ],
)  # fmt: skip
def test_models_find_their_family(classes, family):
    assert families.choose(None, classes).name == family


def test_what_a_file_leaves_out_is_usual(tmp_path):
    (tmp_path / "own.yaml").write_text("kinds: [neuron]\nladder: [1.0, 0.5]\n")
    own = families.choose(str(tmp_path / "own.yaml"), [])
    assert (own.step, own.floor, own.tied, own.frozen) == (1, 1, (), ())


def test_steps_may_differ_by_kind(tmp_path):
    (tmp_path / "own.yaml").write_text("kinds: [neuron, head]\nladder: [1.0, 0.5]\nstep: {neuron: 16}\n")
    own = families.choose(str(tmp_path / "own.yaml"), [])
    assert own.step_of(Group("a", "neuron", 64, ())) == 16
    assert own.step_of(Group("b", "head", 12, ())) == 1
