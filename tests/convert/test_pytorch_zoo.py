"""torchvision's networks and transformers' architectures, with random weights, as specs: `make parity`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
import transformers
from torch import Tensor, nn

import graphspec

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
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_of_transformers(name: str) -> None:
    make, inputs = ARCHITECTURES[name]
    torch.manual_seed(0)
    imported = graphspec.from_torch(make(transformers), inputs)
    assert imported.proved is not None
    print(f"{name}: {imported.text.count(chr(10))} lines, {imported.proved}")
