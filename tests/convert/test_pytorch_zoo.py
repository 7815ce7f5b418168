"""Networks of torchvision, timm and transformers, and modules of users, as specs: `make parity`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
import transformers
from torch import Tensor, nn

import graphspec
from tests.convert.modules import images, sequences, tables  # noqa: F401  (they register)
from tests.convert.modules.given import CASES

pytestmark = pytest.mark.parity

VISION = {
    "alexnet": 64,
    "convnext_tiny": 64,
    "deeplabv3_resnet50": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "fcn_resnet50": 64,
    "googlenet": 64,
    "inception_v3": 128,
    "lraspp_mobilenet_v3_large": 64,
    "maxvit_t": 224,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vgg11": 64,
    "vgg11_bn": 64,
    "vit_b_32": 224,
    "wide_resnet50_2": 64,
}
"""Each with the size of its images."""
OUTPUTS_AS_PYTORCH = ("deeplabv3_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large")
"""Networks that return images, whose channels come first."""


def network(name: str) -> nn.Module:
    words: dict[str, Any] = {"weights_backbone": None} if name in OUTPUTS_AS_PYTORCH else {}
    words |= {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    torch.manual_seed(0)
    found: nn.Module = torchvision.models.get_model(name, weights=None, **words)
    return found


@pytest.mark.parametrize("name", VISION)
def test_networks_of_torchvision(name: str) -> None:
    size = VISION[name]
    imported = graphspec.from_torch(network(name), torch.randn(2, 3, size, size), name=name)
    assert imported.proved is not None
    print(f"{name}: {imported.text.count(chr(10))} lines, {imported.proved}")
    plain = not name.startswith(("swin", "maxvit", "shufflenet")) and name not in OUTPUTS_AS_PYTORCH
    assert not plain or "Permute" not in imported.text


TIMM = {
    "beit_base_patch16_224": 224,
    "convit_tiny": 224,
    "convnext_atto": 64,
    "convnextv2_atto": 64,
    "deit_tiny_distilled_patch16_224": 224,
    "densenet121": 64,
    "dm_nfnet_f0": 64,
    "edgenext_xx_small": 64,
    "efficientnet_b0": 64,
    "efficientvit_b0": 64,
    "ese_vovnet19b_dw": 64,
    "eva02_tiny_patch14_224": 224,
    "fastvit_t8": 64,
    "ghostnet_100": 64,
    "hgnetv2_b0": 64,
    "inception_v3": 96,
    "lcnet_050": 64,
    "levit_128s": 224,
    "mambaout_femto": 64,
    "mixer_s32_224": 224,
    "mobilenetv2_100": 64,
    "mobilenetv3_small_100": 64,
    "mobilenetv4_conv_small": 64,
    "mobilevit_xxs": 64,
    "pit_ti_224": 224,
    "poolformer_s12": 64,
    "pvt_v2_b0": 64,
    "regnety_002": 64,
    "repvit_m0_9": 64,
    "res2net50_26w_4s": 64,
    "resnest14d": 64,
    "resnet18": 64,
    "resnet50": 64,
    "resnetv2_50x1_bit": 64,
    "resnext50_32x4d": 64,
    "rexnet_100": 64,
    "seresnet50": 64,
    "skresnet18": 64,
    "starnet_s1": 64,
    "swin_tiny_patch4_window7_224": 224,
    "tf_efficientnetv2_b0": 64,
    "vgg11": 64,
    "vit_base_patch32_clip_224": 224,
    "vit_small_patch14_dinov2": 224,
    "vit_tiny_patch16_224": 224,
    "xcit_nano_12_p16_224": 224,
}
"""The smallest network of each of the families of timm that are most used, with the size of its images."""


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm(name: str) -> None:
    import timm

    size = TIMM[name]
    torch.manual_seed(0)
    words: dict[str, Any] = {"img_size": size} if name.endswith("dinov2") else {}
    imported = graphspec.from_torch(
        timm.create_model(name, **words), torch.randn(2, 3, size, size), name=name
    )
    assert imported.proved is not None
    print(f"{name}: {imported.text.count(chr(10))} lines, {imported.proved}")
    windows = ("swin", "mobilevit", "levit", "mixer", "eva", "beit", "edgenext", "convit", "efficientvit")
    assert name.startswith((*windows, "xcit", "skresnet")) or "Permute" not in imported.text


@pytest.mark.parametrize("name", CASES)
def test_modules_of_users(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    given = case.inputs[0] if len(case.inputs) == 1 else case.inputs
    imported = graphspec.from_torch(case.cls(), given, dynamic=case.dynamic)
    assert imported.proved is not None
    print(f"{name}: {imported.text.count(chr(10))} lines, {imported.proved}")


TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 60,
    "max_position_embeddings": 40,
}
IMAGE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
IDS = {"input_ids": torch.arange(18).reshape(2, 9) + 5}
MASKED = {**IDS, "attention_mask": torch.ones(2, 9, dtype=torch.int64)}
PIXELS = {"pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))}
GROUPED = {**TEXT, "num_key_value_heads": 2, "use_cache": False}
BOTH: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 60,
    "use_cache": False,
}
"""The sizes of an encoder with a decoder."""

ARCHITECTURES: dict[str, tuple[Callable[[Any], nn.Module], dict[str, Tensor]]] = {
    "bert": (lambda t: t.BertModel(t.BertConfig(**TEXT)), IDS),
    "bert with a mask": (lambda t: t.BertForSequenceClassification(t.BertConfig(**TEXT)), MASKED),
    "distilbert": (
        lambda t: t.DistilBertModel(
            t.DistilBertConfig(
                dim=32, n_layers=2, n_heads=4, hidden_dim=48, vocab_size=60, max_position_embeddings=40
            )
        ),
        IDS,
    ),
    "electra": (lambda t: t.ElectraModel(t.ElectraConfig(embedding_size=16, **TEXT)), IDS),
    "albert": (lambda t: t.AlbertModel(t.AlbertConfig(embedding_size=16, **TEXT)), IDS),
    "gpt2": (
        lambda t: t.GPT2LMHeadModel(
            t.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=60, n_positions=40, use_cache=False)
        ),
        IDS,
    ),
    "gpt neox": (lambda t: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(use_cache=False, **TEXT)), IDS),
    "llama": (lambda t: t.LlamaForCausalLM(t.LlamaConfig(**GROUPED)), IDS),
    "mistral": (lambda t: t.MistralForCausalLM(t.MistralConfig(**GROUPED)), IDS),
    "qwen2": (lambda t: t.Qwen2ForCausalLM(t.Qwen2Config(**GROUPED)), IDS),
    "phi": (lambda t: t.PhiForCausalLM(t.PhiConfig(use_cache=False, **TEXT)), IDS),
    "t5 encoder": (
        lambda t: t.T5EncoderModel(
            t.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=60)
        ),
        IDS,
    ),
    "vit": (lambda t: t.ViTModel(t.ViTConfig(**IMAGE)), PIXELS),
    "deit": (lambda t: t.DeiTModel(t.DeiTConfig(**IMAGE)), PIXELS),
    "dinov2": (
        lambda t: t.Dinov2Model(
            t.Dinov2Config(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8
            )
        ),
        PIXELS,
    ),
    "clip": (lambda t: t.CLIPVisionModel(t.CLIPVisionConfig(**IMAGE)), PIXELS),
    "siglip": (lambda t: t.SiglipVisionModel(t.SiglipVisionConfig(**IMAGE)), PIXELS),
    "beit": (lambda t: t.BeitModel(t.BeitConfig(**IMAGE)), PIXELS),
    "roberta": (lambda t: t.RobertaModel(t.RobertaConfig(**TEXT)), IDS),
    "mpnet": (lambda t: t.MPNetModel(t.MPNetConfig(**TEXT)), IDS),
    "gemma": (lambda t: t.GemmaForCausalLM(t.GemmaConfig(head_dim=8, **GROUPED)), IDS),
    "qwen3": (lambda t: t.Qwen3ForCausalLM(t.Qwen3Config(head_dim=8, **GROUPED)), IDS),
    "phi3": (lambda t: t.Phi3ForCausalLM(t.Phi3Config(pad_token_id=0, **GROUPED)), IDS),
    "bloom": (
        lambda t: t.BloomForCausalLM(
            t.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=60, use_cache=False)
        ),
        IDS,
    ),
    "mobilebert": (
        lambda t: t.MobileBertModel(
            t.MobileBertConfig(embedding_size=16, intra_bottleneck_size=16, true_hidden_size=16, **TEXT)
        ),
        IDS,
    ),
    "bart encoder": (lambda t: t.BartModel(t.BartConfig(**BOTH, max_position_embeddings=40)).encoder, IDS),
    "whisper encoder": (
        lambda t: (
            t.WhisperModel(
                t.WhisperConfig(num_mel_bins=8, max_source_positions=16, pad_token_id=0, **BOTH)
            ).encoder
        ),
        {"input_features": torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(0))},
    ),
    "t5": (
        lambda t: t.T5ForConditionalGeneration(
            t.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=60, use_cache=False)
        ),
        {**IDS, "decoder_input_ids": torch.ones(2, 5, dtype=torch.int64)},
    ),
    "swin": (
        lambda t: t.SwinModel(
            t.SwinConfig(
                image_size=32, patch_size=4, embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=4
            )
        ),
        PIXELS,
    ),
    "falcon": (
        lambda t: t.FalconForCausalLM(
            t.FalconConfig(
                vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, use_cache=False
            )
        ),
        IDS,
    ),
    "gpt2 classifier": (
        lambda t: t.GPT2ForSequenceClassification(
            t.GPT2Config(
                n_embd=32, n_layer=2, n_head=4, vocab_size=60, n_positions=40, use_cache=False, pad_token_id=0
            )
        ),
        IDS,
    ),
    "xlnet": (
        lambda t: t.XLNetModel(t.XLNetConfig(vocab_size=60, d_model=32, n_layer=2, n_head=4, d_inner=48)),
        IDS,
    ),
    "convnext": (
        lambda t: t.ConvNextModel(t.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 2], num_stages=2)),
        PIXELS,
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_of_transformers(name: str) -> None:
    make, inputs = ARCHITECTURES[name]
    torch.manual_seed(0)
    imported = graphspec.from_torch(make(transformers), inputs)
    assert imported.proved is not None
    print(f"{name}: {imported.text.count(chr(10))} lines, {imported.proved}")


OPEN: dict[str, tuple[Callable[[Any], nn.Module], dict[str, Tensor]]] = {
    "bert with a mask": (lambda t: t.BertForTokenClassification(t.BertConfig(**TEXT)), MASKED),
    "cohere": (lambda t: t.CohereForCausalLM(t.CohereConfig(**GROUPED, pad_token_id=0)), IDS),
    "olmo": (lambda t: t.Olmo2ForCausalLM(t.Olmo2Config(**GROUPED, pad_token_id=1)), IDS),
}
"""Whose length stays open."""


@pytest.mark.parametrize("name", OPEN)
def test_architectures_of_open_length(name: str) -> None:
    make, inputs = OPEN[name]
    torch.manual_seed(0)
    imported = graphspec.from_torch(
        make(transformers), inputs, dynamic={key: ["length"] for key in inputs}, name="model"
    )
    assert imported.proved is not None
    assert "{shape: [length], dtype: int64}" in imported.text
    print(f"{name}: {imported.text.count(chr(10))} lines, {imported.proved}")
