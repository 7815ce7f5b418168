"""Greedy texts: our steps beside a loop by hand with keys and values kept, and beside transformers."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import graphspec
from bench.cases import SPECS, copy_weights
from bench.measure import interleave
from bench.report import Column, Table, Value
from bench.twins import text
from graphspec.generate.config import GenerateSettings
from graphspec.generate.generating import Maker
from graphspec.generate.texts import Numbers
from graphspec.program import Program

PROMPT, NEW, CONTEXT, COMPARED = 64, 128, 256, 12
SIZES = {
    "3 layers of 64": {"width": 64, "heads": 4, "depth": 3},
    "6 layers of 256": {"width": 256, "heads": 8, "depth": 6},
    "12 layers of 768": {"width": 768, "heads": 12, "depth": 12},
}
NOTE = f"""`specs/gpt.yaml` with random weights, prompts of {PROMPT} tokens, {NEW} new ones, always the
likeliest, on one thread. `by hand` is a loop in eager PyTorch with buffers for the keys and values of all
tokens; `transformers` is `generate` of `GPT2LMHeadModel` with the same weights, which `build --huggingface`
has written. All say the same tokens. Runs are interleaved; ratios are medians over rounds of the time that
the other takes / ours, in processor time: above 1 ours is faster."""
COLUMNS = (
    Column("model", "model"),
    Column("batch", "texts"),
    Column("ours", "tokens a second", "{:,.0f}".format),
    Column("by hand", "by hand", "{:.2f}".format),
    Column("transformers", "transformers", "{:.2f}".format),
    Column("rounds", "rounds"),
)


class ByHand:
    """The twin as an expert lets it go on: static buffers, and one step for the prompt and for each token."""

    def __init__(self, twin: text.Gpt, batch: int):
        self.twin = twin
        layers: Any = twin.layers
        attention = layers[0].attention
        width, heads = attention.query.out_features, attention.heads
        shape = (len(twin.layers), 2, batch, heads, CONTEXT, width // heads)
        self.buffers = torch.zeros(shape)

    def step(self, tokens: Tensor, first: int) -> Tensor:
        """The scores after new tokens, [N, new], of which the first has this place."""
        twin: Any = self.twin
        last = first + tokens.shape[1]
        x = twin.embedding(tokens) + twin.positions.weight[first:last]
        for layer, (keys, values) in zip(twin.layers, self.buffers, strict=True):
            attention, y = layer.attention, layer.norm1(x)
            parts = (attention.query(y), attention.key(y), attention.value(y))
            query, key, value = (p.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for p in parts)
            keys[:, :, first:last], values[:, :, first:last] = key, value
            y = F.scaled_dot_product_attention(
                query, keys[:, :, :last], values[:, :, :last], is_causal=tokens.shape[1] > 1
            )
            x = x + attention.output(y.transpose(1, 2).flatten(2))
            x = x + layer.projected(F.gelu(layer.expanded(layer.norm2(x))))
        return F.linear(twin.norm(x[:, -1]), self.twin.embedding.weight)

    @torch.inference_mode()
    def __call__(self, prompts: Tensor) -> Tensor:
        made, tokens, place = [], prompts, 0
        for _ in range(NEW):
            scores = self.step(tokens, place)
            place += tokens.shape[1]
            tokens = scores.argmax(-1, keepdim=True)
            made.append(tokens)
        return torch.cat(made, 1)


@torch.inference_mode()
def _without(twin: text.Gpt, prompts: Tensor) -> Tensor:
    """The first few tokens, each computed of all before it."""
    tokens = prompts
    for _ in range(COMPARED):
        tokens = torch.cat([tokens, twin(tokens, logits=True)[:, -1].argmax(-1, keepdim=True)], 1)
    return tokens[:, prompts.shape[1] :]


def _ours(maker: Maker, prompts: Tensor) -> Tensor:
    made: list[list[int]] = [[] for _ in prompts]
    for token in maker.make(prompts.tolist()):
        made[token.sequence].append(token.token)
    return torch.tensor(made)


def _of_transformers(program: Program, weights: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
    import transformers

    from graphspec.convert.pytorch.to_huggingface import save_huggingface

    with TemporaryDirectory() as folder:
        save_huggingface(program, weights, Path(folder))
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    options = {"do_sample": False, "max_new_tokens": NEW, "eos_token_id": None, "pad_token_id": 0}

    def run(prompts: Tensor) -> Tensor:
        with torch.inference_mode():
            found = model.generate(prompts, attention_mask=torch.ones_like(prompts), **options)
        return torch.as_tensor(found[:, prompts.shape[1] :])

    return run


def table(budget_seconds: float) -> Table:
    rows = [_row(name, batch, 2 * budget_seconds) for name in SIZES for batch in (1, 8)]
    return Table("Texts beside a loop by hand", NOTE, COLUMNS, tuple(rows))


def _row(name: str, batch: int, budget_seconds: float) -> Mapping[str, Value]:
    size = SIZES[name]
    settings = {f"params.{key}": value for key, value in {**size, "context": CONTEXT}.items()}
    program = graphspec.compile(SPECS / "gpt.yaml", settings=settings)
    module, twin = (
        program.module(seed=0).eval(),
        text.Gpt(size["width"], size["heads"], size["depth"], context=CONTEXT).eval(),
    )
    with torch.no_grad():
        module.get_parameter("embedding.weight").normal_(0, 0.5)  # else the last token is the likeliest next
    copy_weights(module, twin)
    asked = GenerateSettings(length=NEW, temperature=0)
    maker = Maker(program, lambda: module, Numbers(), "tokens", asked)
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "ours": partial(_ours, maker),
        "by hand": ByHand(twin, batch),
    }
    if find_spec("transformers") is not None:
        calls["transformers"] = _of_transformers(program, module.state_dict())
    prompts = torch.randint(0, 96, (batch, PROMPT), generator=torch.Generator().manual_seed(1))
    found = {key: call(prompts) for key, call in calls.items()}
    for key, tokens in found.items():
        if not torch.equal(tokens, found["by hand"]) or not torch.equal(
            tokens[:, :COMPARED], _without(twin, prompts)
        ):
            raise RuntimeError(f"{key} says other tokens")
    timed = {key: partial(call, prompts) for key, call in calls.items()}
    samples = interleave(timed, warmup=1, budget_seconds=budget_seconds, min_rounds=3)
    ratios = {key: each.processor_ratio(samples["ours"]) for key, each in samples.items() if key != "ours"}
    rate = batch * NEW / samples["ours"].median
    return {"model": name, "batch": batch, "ours": rate, **ratios, "rounds": len(samples["ours"].seconds)}
