"""Types of fields are those that pydantic tells of the whole class."""

from __future__ import annotations

from pydantic import BaseModel

from graphspec.contract import REGISTRY
from graphspec.data.config import DataConfig
from graphspec.reference.field_types import Explained, field_types
from graphspec.train.config import CALLBACKS, OPTIMIZERS, TrainConfig
from tests import bundled

CLASSES: list[type[BaseModel]] = [
    *(TrainConfig, DataConfig, CALLBACKS.members["model_checkpoint"]),
    *dict.fromkeys(OPTIMIZERS.members.values()),
    *(REGISTRY["layer"][name] for name in ("Conv2D", "LSTM", "Resizing", "UpSampling2D", "Bidirectional")),
]
OTHER = ("title", "default", "description")


@bundled(99, "cls", CLASSES, ids=lambda cls: cls.__name__)
def test_types_are_those_of_pydantic(cls: type[BaseModel]) -> None:
    """`Resizing` and `UpSampling2D` list the same words in another order."""
    whole = cls.model_json_schema(schema_generator=Explained)
    keys, definitions = field_types(cls)
    assert definitions == whole.get("$defs", {})
    assert list(keys) == list(whole.get("properties", {}))
    for key, found in keys.items():
        wanted = {name: value for name, value in whole["properties"][key].items() if name not in OTHER}
        assert found == wanted, key
