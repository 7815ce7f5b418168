"""Names of other libraries for methods and attributes that this package and a program have elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from graphspec.diagnostics.collecting import fail
from graphspec.diagnostics.spelling import nearest

_MODULE = "`program.module()` is the torch.nn.Module, which has it"
_TRAINED = "train first, `result = program.fit(data)`, then `graphspec.Run(result.run_dir).{}`"
_OF_MODULE = (
    "parameters named_parameters state_dict load_state_dict to cuda cpu eval zero_grad children forward"
)
_SPECS = "Model Sequential Functional Graph Spec load load_model from_yaml from_dict read parse build"

OF_PROGRAMS: Mapping[str, str] = {
    **dict.fromkeys(_OF_MODULE.split(), _MODULE),
    **dict.fromkeys(("modules", "weights", "get_weights", "trainable_variables"), _MODULE),
    **dict.fromkeys(("predict", "predict_proba", "predict_on_batch"), _TRAINED.format("predict(data)")),
    **dict.fromkeys(("evaluate", "score", "test"), _TRAINED.format("evaluate(data)")),
    **dict.fromkeys(("train", "train_on_batch", "train_step"), "`program.fit(data)` trains"),
    "compile": "it is compiled, with the optimizer and the losses of its spec: `program.fit(data)` trains",
    **dict.fromkeys(("layers", "nodes", "get_layer", "count_params"), "`program.summary()` lists its nodes"),
    **dict.fromkeys(("load_weights", "set_weights"), "give them: `program.module(weights=PATH)`"),
    **dict.fromkeys(
        ("save", "save_weights"), "`program.fit(data)` keeps the weights in the directory of its run"
    ),
    **dict.fromkeys(("to_yaml", "to_json", "get_config"), "`program.resolved` is the spec as text"),
    **dict.fromkeys(("export", "to_onnx"), "`graphspec build RUN -o model.onnx`, or `graphspec.export`"),
    **dict.fromkeys(("build", "instantiate"), "`program.module()` is the PyTorch module"),
    "set": '`graphspec.compile(PATH, settings={"train.epochs": 3})` changes it',
    **dict.fromkeys(("plot", "plot_model"), "`graphspec plot SPEC -o model.svg`"),
}
OF_PACKAGE: Mapping[str, str] = {
    **dict.fromkeys(
        _SPECS.split(), "a spec: `graphspec.compile(PATH)`; a trained run: `graphspec.Run(RUN_DIR)`"
    ),
    **dict.fromkeys(
        ("fit", "Trainer", "predict", "evaluate", "load_run", "train"),
        "`graphspec.compile(PATH).fit(data)` trains, `graphspec.Run(RUN_DIR)` predicts and evaluates",
    ),
}


class Package(ModuleType):
    """A package of ours that has the name of a function of other libraries, and is called as that."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        raise fail("wrong-type", f"`{self.__name__}` is a package, not a function", OF_PACKAGE[name])


def no_attribute(owner: str, name: str, words: Mapping[str, str], known: Iterable[str]) -> AttributeError:
    """The error of an attribute that is not there, with what it is called here, or what is nearest to it."""
    near = nearest(name, [each for each in known if not each.startswith("_")])
    meant = words.get(name) or (f"did you mean `{near}`?" if near else "")
    return AttributeError(f"{owner} has no attribute `{name}`" + (f": {meant}" if meant else ""), name=name)
