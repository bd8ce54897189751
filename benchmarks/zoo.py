"""Models to prune, built without downloads. Knows configurations and inputs; nothing of autoprune.

timm: the smallest model of every family up to a size; transformers: thirty architectures from small configurations;
torchvision: one of each family; toys: recurrent networks and torch's own transformer; field: kinds that are hard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

if __package__:
    from benchmarks.zoo_field import FIELD
else:  # of a script beside it
    from zoo_field import FIELD

Made = tuple[nn.Module, Any]
LARGEST = 60_000_000
SMALL = 128


def prepare() -> None:
    """Import what is heavy once; let torchvision be imported where its compiled part was built for another device."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)  # what it defines lives as long as it does
    import timm  # noqa: F401
    import transformers

    transformers.logging.set_verbosity_error()


_LIBRARIES: list[torch.library.Library] = []


def names() -> list[str]:
    """Every model here, as `make` takes it."""
    return [
        *(f"timm/{name}" for name in timm_families()),
        *(f"transformers/{name}" for name in TRANSFORMERS),
        *(f"torchvision/{name}" for name in TORCHVISION),
        *(f"toys/{name}" for name in TOYS),
        *(f"field/{name}" for name in FIELD),
    ]


def timm_families() -> Iterator[str]:
    """The name of the smallest model of each family of timm; minutes, as every model is built on meta."""
    import timm
    from timm.models._registry import _model_to_module

    smallest: dict[str, tuple[int, str]] = {}
    for name in timm.list_models():
        try:
            with torch.device("meta"):
                model = timm.create_model(name)
        except Exception:  # noqa: S112 - models that need weights or extra packages
            continue
        size = sum(parameter.numel() for parameter in model.parameters())
        if size <= LARGEST:
            family = _model_to_module[name]
            smallest[family] = min(smallest.get(family, (size, name)), (size, name))
    yield from sorted(name for _, name in smallest.values())


def timm_model(name: str) -> Made:
    import timm

    model = timm.create_model(name)
    channels, height, width = model.pretrained_cfg["input_size"]
    try:  # small images where the model takes them, which is quicker
        with torch.no_grad():
            model.eval()(torch.randn(1, channels, SMALL, SMALL))
        height = width = min(SMALL, height)
    except Exception:
        model = timm.create_model(name)
    return model, (torch.randn(2, channels, height, width),)


TORCHVISION = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1",
    "swin_t", "vgg11_bn", "vit_b_32", "fcn_resnet50",
)  # fmt: skip


def torchvision_model(name: str) -> Made:
    import torchvision

    extra = {"weights_backbone": None} if name == "fcn_resnet50" else {}
    if name in ("googlenet", "inception_v3"):
        extra = {"init_weights": True}
    size = 299 if name == "inception_v3" else 224
    model = torchvision.models.get_model(name, weights=None, **extra)
    return model, (torch.randn(2, 3, size, size),)


def _ids(high: int = 100) -> torch.Tensor:
    return torch.randint(3, high, (2, 12), generator=torch.Generator().manual_seed(0))


def _text(model: str, config: str, **settings: Any) -> Callable[[], Made]:
    def make() -> Made:
        import transformers

        return getattr(transformers, model)(getattr(transformers, config)(vocab_size=100, **settings)), {
            "input_ids": _ids()
        }

    return make


def _image(model: str, config: str, size: int = 64, **settings: Any) -> Callable[[], Made]:
    def make() -> Made:
        import transformers

        built = getattr(transformers, model)(getattr(transformers, config)(**settings))
        return built, {"pixel_values": torch.randn(2, 3, size, size)}

    return make


_BERT = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "num_labels": 5}
_LLAMA = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 112, "max_position_embeddings": 64,
}  # fmt: skip


def _encoder_decoder(model: str, config: str, **settings: Any) -> Callable[[], Made]:
    def make() -> Made:
        import transformers

        built = getattr(transformers, model)(getattr(transformers, config)(vocab_size=100, **settings))
        return built, {"input_ids": _ids(), "decoder_input_ids": _ids()[:, :7]}

    return make


def _whisper() -> Made:
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=100, num_mel_bins=16, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=20, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=[], begin_suppress_tokens=[],
    )  # fmt: skip
    inputs = {"input_features": torch.randn(2, 16, 40), "decoder_input_ids": _ids()[:, :7]}
    return transformers.WhisperForConditionalGeneration(config), inputs


def _speech(model: str, config: str) -> Callable[[], Made]:
    def make() -> Made:
        import transformers

        settings = getattr(transformers, config)(
            vocab_size=30, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            conv_dim=(32, 32, 32), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3), num_feat_extract_layers=3,
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, apply_spec_augment=False, layerdrop=0.0,
        )  # fmt: skip
        return getattr(transformers, model)(settings), {"input_values": torch.randn(2, 2000)}

    return make


def _clip() -> Made:
    import transformers

    part = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.CLIPConfig(
        text_config={**part, "vocab_size": 100, "eos_token_id": 2, "projection_dim": 24},
        vision_config={**part, "image_size": 64, "patch_size": 16, "projection_dim": 24},
        projection_dim=24,
    )
    inputs = {"input_ids": _ids(), "pixel_values": torch.randn(2, 3, 64, 64)}
    return transformers.CLIPModel(config), inputs


_VIT = {**_BERT, "image_size": 64, "patch_size": 16}
_SWIN = {"image_size": 64, "patch_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
TRANSFORMERS: dict[str, Callable[[], Made]] = {
    "bert": _text("BertForSequenceClassification", "BertConfig", **_BERT),
    "roberta": _text("RobertaForSequenceClassification", "RobertaConfig", **_BERT),
    "distilbert": _text(
        "DistilBertForSequenceClassification", "DistilBertConfig", dim=48, n_layers=2, n_heads=4, hidden_dim=96
    ),
    "albert": _text("AlbertForSequenceClassification", "AlbertConfig", embedding_size=24, **_BERT),
    "electra": _text("ElectraForSequenceClassification", "ElectraConfig", embedding_size=24, **_BERT),
    "mpnet": _text("MPNetForSequenceClassification", "MPNetConfig", **_BERT),
    "deberta-v2": _text(
        "DebertaV2ForSequenceClassification",
        "DebertaV2Config",
        relative_attention=True,
        position_buckets=8,
        pos_att_type=["p2c", "c2p"],
        max_relative_positions=16,
        **_BERT,
    ),
    "modernbert": _text(
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
        **_BERT,
    ),
    "gpt2": _text("GPT2LMHeadModel", "GPT2Config", n_embd=48, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2),
    "gpt-neox": _text("GPTNeoXForCausalLM", "GPTNeoXConfig", **{k: v for k, v in _BERT.items() if k != "num_labels"}),
    "opt": _text(
        "OPTForCausalLM",
        "OPTConfig",
        hidden_size=48,
        ffn_dim=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=48,
    ),
    "bloom": _text("BloomForCausalLM", "BloomConfig", hidden_size=48, n_layer=2, n_head=4),
    "llama-gqa": _text("LlamaForCausalLM", "LlamaConfig", **_LLAMA),
    "mistral": _text("MistralForCausalLM", "MistralConfig", **_LLAMA),
    "qwen2": _text("Qwen2ForCausalLM", "Qwen2Config", **_LLAMA),
    "qwen3": _text("Qwen3ForCausalLM", "Qwen3Config", head_dim=8, **_LLAMA),
    "gemma": _text("GemmaForCausalLM", "GemmaConfig", head_dim=8, pad_token_id=0, **_LLAMA),
    "phi": _text("PhiForCausalLM", "PhiConfig", **_LLAMA),
    "mixtral": _text("MixtralForCausalLM", "MixtralConfig", num_local_experts=4, **_LLAMA),
    "qwen3-moe": _text(
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        decoder_sparse_step=1,
        head_dim=8,
        **_LLAMA,
    ),
    "gpt-oss": _text(
        "GptOssForCausalLM", "GptOssConfig", num_local_experts=4, num_experts_per_tok=2, head_dim=8, **_LLAMA
    ),
    "mamba": _text("MambaForCausalLM", "MambaConfig", hidden_size=32, num_hidden_layers=2, state_size=8),
    "t5": _encoder_decoder("T5ForConditionalGeneration", "T5Config", **_T5),
    "bart": _encoder_decoder(
        "BartForConditionalGeneration",
        "BartConfig",
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
    ),
    "whisper": _whisper,
    "wav2vec2": _speech("Wav2Vec2ForCTC", "Wav2Vec2Config"),
    "hubert": _speech("HubertForCTC", "HubertConfig"),
    "clip": _clip,
    "vit": _image("ViTForImageClassification", "ViTConfig", **_VIT),
    "deit": _image("DeiTForImageClassification", "DeiTConfig", **_VIT),
    "swin": _image("SwinForImageClassification", "SwinConfig", **_SWIN),
    "convnext": _image("ConvNextForImageClassification", "ConvNextConfig", hidden_sizes=[16, 24, 32, 48]),
    "resnet": _image(
        "ResNetForImageClassification", "ResNetConfig", embedding_size=16, hidden_sizes=[32, 48, 64, 80], depths=[2] * 4
    ),
    "mobilenetv2": _image("MobileNetV2ForImageClassification", "MobileNetV2Config", depth_multiplier=0.5),
    "segformer": _image(
        "SegformerForImageClassification", "SegformerConfig", hidden_sizes=[16, 24, 32, 48], decoder_hidden_size=32
    ),
}


class Recurrent(nn.Module):
    """An embedding, a recurrent layer, and a classifier on the last state."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.embed, self.layer, self.head = nn.Embedding(100, 24), layer, nn.Linear(width, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out, _ = self.layer(self.embed(ids))
        return self.head(out[:, -1])


def _encoder() -> Made:
    layer = nn.TransformerEncoderLayer(48, 4, 96, batch_first=True)
    return nn.Sequential(nn.Embedding(100, 48), nn.TransformerEncoder(layer, 2), nn.Linear(48, 5)), (_ids(),)


def _full_transformer() -> Made:
    model = nn.Transformer(32, 4, 2, 2, 64, batch_first=True)
    return model, (torch.randn(2, 9, 32), torch.randn(2, 5, 32))


TOYS: dict[str, Callable[[], Made]] = {
    "lstm": lambda: (Recurrent(nn.LSTM(24, 40, 2, batch_first=True), 40), (_ids(),)),
    "bilstm": lambda: (Recurrent(nn.LSTM(24, 40, batch_first=True, bidirectional=True), 80), (_ids(),)),
    "gru": lambda: (Recurrent(nn.GRU(24, 40, batch_first=True), 40), (_ids(),)),
    "rnn": lambda: (Recurrent(nn.RNN(24, 40, batch_first=True), 40), (_ids(),)),
    "nn.TransformerEncoder": _encoder,
    "nn.Transformer": _full_transformer,
}
QUICK = (
    "timm/resnetv2_18", "timm/mobilenetv3_small_050", "timm/test_convnext", "timm/test_vit", "timm/coat_tiny",
    "torchvision/shufflenet_v2_x0_5", "transformers/bert", "transformers/gpt2", "transformers/llama-gqa",
    "transformers/t5", "transformers/swin", "toys/lstm",
)  # fmt: skip


def make(name: str) -> Made:
    """The model in eval mode and its inputs: 'timm/NAME', 'torchvision/NAME', 'transformers/NAME', 'toys/NAME' or
    'field/NAME'."""
    torch.manual_seed(0)
    source, _, rest = name.partition("/")
    if source == "timm":
        model, inputs = timm_model(rest)
    elif source == "torchvision":
        model, inputs = torchvision_model(rest)
    else:
        model, inputs = {"transformers": TRANSFORMERS, "toys": TOYS, "field": FIELD}[source][rest]()
    _normalise(model, inputs)
    return model.eval(), inputs


def _normalise(model: nn.Module, inputs: Any) -> None:
    """Give batch norms the statistics of the inputs: with none, activations of a deep network fade to nothing."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if norms:
        with torch.no_grad(), contextlib.suppress(ValueError):  # one value a channel has no statistics
            model.train()
            for norm in norms:
                norm.momentum = None
            _ = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
