"""Files to import: those of Keras 2, broken ones, and hostile ones, which end in diagnostics."""

import io
import json
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.convert import import_keras
from graphspec.diagnostics import SpecError
from tests.keras_saved import KERAS_WARNS

pytestmark = KERAS_WARNS


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive as Keras writes it."""
    path = tmp_path_factory.mktemp("saved") / "small.keras"
    x = keras.Input((3,), name="x")
    keras.Model(x, layers.Dense(2, name="y")(layers.Dense(4, name="hidden")(x))).save(path)
    return path


def rewritten(saved: Path, target: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    """The archive with other members."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def fail(path: Path) -> tuple[str, str]:
    with pytest.raises(SpecError) as raised:
        import_keras(path)
    (found,) = raised.value.diagnostics
    return found.code, found.message


# --- Keras 2

LAYERS_2: list[dict[str, Any]] = [
    {"class_name": "InputLayer", "name": "a", "config": {"batch_input_shape": [None, 3], "dtype": "float32"}},
    {"class_name": "InputLayer", "name": "b", "config": {"batch_input_shape": [None, 3], "dtype": "float32"}},
    {"class_name": "Dense", "name": "d", "config": {"units": 2, "activation": "relu", "trainable": True}},
    {"class_name": "Concatenate", "name": "c", "config": {"axis": -1, "trainable": True}},
    {"class_name": "BatchNormalization", "name": "n", "config": {"axis": [1], "trainable": True}},
]
NODES_2: list[Any] = [
    [],
    [],
    [[["a", 0, 0, {}]], [["b", 0, 0, {}]]],
    [[["d", 0, 0, {}], ["d", 1, 0, {}]]],
    [[["c", 0, 0, {}]]],
]


def test_a_file_of_keras_2(tmp_path: Path) -> None:
    """Nodes as lists, names in configs, variables under the layers' names: what Keras 2 wrote."""
    listed = [
        {**layer, "config": {**layer["config"], "name": layer["name"]}, "inbound_nodes": nodes}
        for layer, nodes in zip(LAYERS_2, NODES_2, strict=True)
    ]
    config = {"name": "old", "layers": listed, "input_layers": [["a", 0, 0], ["b", 0, 0]]}
    model = {"class_name": "Functional", "config": {**config, "output_layers": [["n", 0, 0]]}}
    values = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(model)
        file.attrs["keras_version"] = "2.4.0"
        weights = {"d": {"kernel": values, "bias": np.ones(2, "float32")}}
        weights["n"] = {
            "gamma": np.full(4, 2.0, "float32"),
            "beta": np.zeros(4, "float32"),
            "moving_mean": np.full(4, 0.5, "float32"),
            "moving_variance": np.full(4, 4.0, "float32"),
        }
        for layer, arrays in weights.items():
            group = file.create_group(f"model_weights/{layer}")
            group.attrs["weight_names"] = [f"{layer}/{name}:0" for name in arrays]
            for name, array in arrays.items():
                group[f"{layer}/{name}:0"] = array
    imported = import_keras(tmp_path / "old.h5")
    module = imported.program.module().eval()
    assert imported.weights is not None
    module.load_state_dict(imported.weights)
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    joined = torch.cat([(x @ torch.tensor(values) + 1).relu() for x in (a, b)], 1)
    expected = (joined - 0.5) / (4 + 1e-3) ** 0.5 * 2
    torch.testing.assert_close(module(a, b), expected)


# --- broken files


def test_broken_files(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("no archive")
    assert fail(tmp_path / "text.keras")[0] == "import-format"
    assert fail(tmp_path / "missing.keras")[0] == "import-format"
    (tmp_path / "list.json").write_text("[1, 2]")
    assert fail(tmp_path / "list.json") == (
        "import-format",
        f"`{tmp_path / 'list.json'}` holds no object, so it is not a model's config",
    )
    (tmp_path / "half.keras").write_bytes(saved.read_bytes()[:500])
    assert fail(tmp_path / "half.keras")[0] == "import-format"
    path = rewritten(saved, tmp_path / "empty.keras", lambda members: members.pop("config.json"))
    assert "has no config.json" in fail(path)[1]
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.create_group("model_weights")
    assert "without a model's config" in fail(tmp_path / "weights.h5")[1]


@pytest.mark.parametrize("seed", range(30))
def test_configs_that_were_damaged_end_in_diagnostics(saved: Path, tmp_path: Path, seed: int) -> None:
    """A value anywhere in the config replaced by another: a diagnostic, or a spec; never a traceback."""
    random = np.random.default_rng(seed)

    def damage(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        place: Any = config
        while isinstance(place, (dict, list)) and place:
            key = (
                random.choice(sorted(place)) if isinstance(place, dict) else int(random.integers(len(place)))
            )
            if not isinstance(place[key], (dict, list)) or not place[key] or random.random() < 0.1:
                place[key] = [None, 7, -1, "x", [], {}, ["y", 0, 0], 1e400, True][int(random.integers(9))]
                break
            place = place[key]
        members["config.json"] = json.dumps(config).encode()

    path = rewritten(saved, tmp_path / "damaged.keras", damage)
    try:
        import_keras(path)
    except SpecError as error:
        assert {d.code for d in error.diagnostics} <= {"import-format", "import-unsupported", "import-unsafe"}


def test_bytes_that_were_damaged_end_in_diagnostics(saved: Path, tmp_path: Path) -> None:
    """A few bytes anywhere replaced by others, under each compression: a diagnostic, or a spec."""
    random = np.random.default_rng(0)
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    for kind in kinds:
        with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(tmp_path / "packed", "w", kind) as target:
            target.writestr("config.json", archive.read("config.json"))
        whole = (tmp_path / "packed").read_bytes()
        for _ in range(40):
            content = bytearray(whole)
            for place in random.integers(len(content), size=3):
                content[place] = random.integers(256)
            (tmp_path / "damaged.keras").write_bytes(content)
            try:
                import_keras(tmp_path / "damaged.keras")
            except SpecError as error:
                codes = {found.code for found in error.diagnostics}
                assert codes <= {"import-format", "import-unsupported", "import-unsafe"}


def test_a_text_of_hdf5_that_is_no_text(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bytes.h5", "w") as file:
        file.attrs["model_config"] = np.void(b'{"class_name": "\xe5"}')
    assert fail(tmp_path / "bytes.h5")[0] == "import-format"
    with h5py.File(tmp_path / "text.h5", "w") as file:
        kind = h5py.string_dtype("utf-8", 18)
        file.attrs.create("model_config", np.array(b'{"class_name": "\xe5"}', kind), dtype=kind)
    assert fail(tmp_path / "text.h5")[0] == "import-format"


# --- hostile files


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_archives_that_lead_elsewhere(saved: Path, tmp_path: Path) -> None:
    for name in ("/etc/passwd", "../up", "a/../../up", "..\\up", "C:/up"):

        def add(members: dict[str, bytes], name: str = name) -> None:
            members[name] = b"x"

        code, message = fail(rewritten(saved, tmp_path / "bad.keras", add))
        assert code == "import-unsafe" and "leads out of the archive" in message
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(tmp_path / "link.keras", "w") as target:
        for member in archive.namelist():
            target.writestr(member, archive.read(member))
        target.writestr(link, "/etc/passwd")
    assert "is a link" in fail(tmp_path / "link.keras")[1]


def test_archives_that_unpack_to_much(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("config.json", archive.read("config.json"))
        target.writestr("model.weights.h5", bytes(30 << 20))
    code, message = fail(path)
    assert code == "import-unsafe" and "unpacks from" in message
    (tmp_path / "deep.json").write_text('{"class_name": ' * 5_000 + "1" + "}" * 5_000)
    assert "nests 5000 deep" in fail(tmp_path / "deep.json")[1]


def test_pickles_are_never_loaded(saved: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    stored = io.BytesIO()
    np.savez(stored, layers=np.array(Trap(touched), dtype=object), allow_pickle=True)

    def change(members: dict[str, bytes]) -> None:
        del members["model.weights.h5"]
        members["model.weights.npz"] = stored.getvalue()

    assert fail(rewritten(saved, tmp_path / "npz.keras", change))[0] == "import-unsafe"
    pickled = pickle.dumps(Trap(touched))
    path = rewritten(saved, tmp_path / "pkl.keras", lambda members: members.update({"assets/a.pkl": pickled}))
    assert "is a pickle" in fail(path)[1]
    assert not touched.exists()


def hostile_weights(saved: Path, target: Path, change: Callable[[Any], None]) -> Path:
    """The archive with its HDF5 file changed."""

    def rewrite(members: dict[str, bytes]) -> None:
        stored = io.BytesIO(members["model.weights.h5"])
        with h5py.File(stored, "r+") as file:
            change(file)
        members["model.weights.h5"] = stored.getvalue()

    return rewritten(saved, target, rewrite)


def test_weights_that_lie_elsewhere(saved: Path, tmp_path: Path) -> None:
    place = "layers/dense/vars/0"

    def link(file: Any) -> None:
        del file[place]
        file[place] = h5py.ExternalLink("/etc/other.h5", "/secret")

    def soft(file: Any) -> None:
        del file["layers/dense"]
        file["layers/dense"] = h5py.SoftLink("/layers/dense_1")

    def virtual(file: Any) -> None:
        del file[place]
        layout = h5py.VirtualLayout((3, 4), "float32")
        layout[:] = h5py.VirtualSource("/etc/other.h5", "secret", (3, 4))
        file.create_virtual_dataset(place, layout)

    def external(file: Any) -> None:
        del file[place]
        file.create_dataset(place, (3, 4), "float32", external=[(str(tmp_path / "raw"), 0, 48)])

    def bomb(file: Any) -> None:
        del file[place]
        file.create_dataset(place, (1 << 18, 1 << 10), "float32", chunks=(1 << 10, 1 << 10))

    def within_itself(file: Any) -> None:
        file["layers/dense/layer"] = file["layers/dense"]

    for change, words in (
        (within_itself, "hold themselves"),
        (link, "is a link"),
        (soft, "is a link"),
        (virtual, "is in another file"),
        (external, "is in another file"),
        (bomb, "unpacks from"),
    ):
        code, message = fail(hostile_weights(saved, tmp_path / "bad.keras", change))
        assert code == "import-unsafe" and words in message


def test_a_kernel_of_another_shape_is_not_taken_for_the_layers(saved: Path, tmp_path: Path) -> None:
    """As Keras refuses it, also where sizes of 1 are all that differs."""
    for shape in ([4, 3], [1, 3, 4], [3, 1, 4], [3, 4, 1]):

        def reshape(file: Any, shape: list[int] = shape) -> None:
            stored = file["layers/dense/vars"]
            kernel = stored["0"][()]
            del stored["0"]
            stored["0"] = kernel.reshape(shape)

        code, message = fail(hostile_weights(saved, tmp_path / "bad.keras", reshape))
        assert code == "import-format" and f"its `kernel` has the shape {shape}, not [3, 4]" in message


def test_names_that_yaml_reads_as_values_and_long_ones(tmp_path: Path) -> None:
    layers = [keras.layers.Dense(3, name="null"), keras.layers.Dense(2, name="x" * 1000)]
    keras.Sequential([keras.Input((4,)), *layers]).save(tmp_path / "m.keras")
    imported = import_keras(tmp_path / "m.keras")
    assert "  null_: " in imported.text and "x" * 81 not in imported.text


def test_nothing_that_a_file_names_is_imported(saved: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "evil.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    monkeypatch.syspath_prepend(tmp_path)

    def change(members: dict[str, bytes]) -> None:
        members["config.json"] = members["config.json"].replace(b'"keras.layers"', b'"evil"')

    def deeper(members: dict[str, bytes]) -> None:
        members["config.json"] = members["config.json"].replace(b'"keras.initializers"', b'"evil"')

    def ignored(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        layer = config["config"]["layers"][1]
        layer["config"]["dtype"]["module"] = "evil"
        members["config.json"] = json.dumps(config).encode()

    for number, each in enumerate((change, deeper, ignored)):
        path = rewritten(saved, tmp_path / f"evil{number}.keras", each)
        done = CliRunner().invoke(app, ["import", "keras", str(path), "-o", str(tmp_path / "out")])
        assert done.exit_code == 1 and not (tmp_path / "ran").exists()
        assert ("import-unsafe" if each is ignored else "import-unsupported") in done.output


# --- the command


def test_the_command(saved: Path, tmp_path: Path) -> None:
    arguments = ["import", "keras", str(saved), "-o", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert f"wrote {tmp_path / 'small.yaml'}, 6 lines, and {tmp_path / 'small.safetensors'}" in done.output
    assert "equal to Keras to" in done.output
    assert CliRunner().invoke(app, arguments).exit_code == 2  # it overwrites nothing
    done = CliRunner().invoke(app, [*arguments, "--force", "--progress", "json"])
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert said == [{"event": "stage", "name": name} for name in ("read", "compare", "write")]
    assert CliRunner().invoke(app, [*arguments, "--force", "--progress", "bar"]).exit_code == 2
    done = CliRunner().invoke(app, [*arguments, "--force", "--json", "--no-check"])
    answer = json.loads(done.output)
    assert answer["ok"] and answer["parameters"] == 26 and answer["difference"] is None
    done = CliRunner().invoke(app, ["import", "keras", str(tmp_path / "none.keras"), "--json"])
    assert done.exit_code == 1 and json.loads(done.output)["diagnostics"][0]["code"] == "import-format"


FORMER = {"Orthogonal": "OrthogonalInitializer", "Identity": "IdentityInitializer"}
"""What Keras 3.0 to 3.6 call classes."""


def recurrent() -> Any:
    x = keras.Input((5, 3), name="x")
    y = layers.Bidirectional(layers.GRU(3, return_sequences=True))(x)
    y = layers.RNN([layers.LSTMCell(3), layers.SimpleRNNCell(2)])(y)
    return keras.Model(x, layers.Dense(2, kernel_initializer=keras.initializers.Identity(2.0))(y))


def formerly(text: str) -> str:
    for now, before in FORMER.items():
        text = text.replace(f'"{now}"', f'"{before}"')
    return text


@pytest.mark.parametrize("suffix", [".json", ".h5", ".keras"])
def test_initializers_have_their_former_names(suffix: str, tmp_path: Path) -> None:
    model, path = recurrent(), tmp_path / f"model{suffix}"
    expected = graphspec.from_keras(model)
    assert formerly(model.to_json()) != model.to_json()
    if suffix == ".json":
        path.write_text(formerly(model.to_json()))
    elif suffix == ".h5":
        model.save(path)
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = formerly(file.attrs["model_config"])
    else:
        model.save(tmp_path / "now.keras")
        with zipfile.ZipFile(tmp_path / "now.keras") as now, zipfile.ZipFile(path, "w") as before:
            for name in now.namelist():
                data = now.read(name)
                before.writestr(name, formerly(data.decode()) if name == "config.json" else data)
    found = import_keras(path)
    assert found.text == expected.text
    assert (found.weights is None) == (suffix == ".json")


def test_variables_of_one_name_are_not_taken_for_one_another(tmp_path: Path) -> None:
    model = recurrent()
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        layer = next(g for g in file["model_weights"].values() if len(g.attrs.get("weight_names", [])) > 1)
        names = list(layer.attrs["weight_names"])
        layer.attrs["weight_names"] = [names[0], *names[:-1]]
    with pytest.raises(SpecError, match="are not whole"):
        import_keras(tmp_path / "model.h5")


ERRING = [
    (lambda x: layers.AveragePooling2D(3, 2, padding="same")(x), "counts the padding"),
    (lambda x: layers.Activation("sparsemax")(x), "do not sum to 1"),
    (lambda x: keras.ops.sparsemax(x), "do not sum to 1"),
    (lambda x: layers.Dense(5, activation="sparsemax")(x), "do not sum to 1"),
    (lambda x: layers.LayerNormalization(axis=2)(layers.Permute((3, 1, 2))(x)), "normalizes along"),
]


@pytest.mark.parametrize(("call", "words"), ERRING)
def test_a_file_that_is_right_is_not_said_to_differ(call: Any, words: str, tmp_path: Path) -> None:
    """Keras errs on torch, which runs it for the comparison."""
    x = keras.Input((6, 6, 3), name="x")
    keras.Model(x, call(x), name="right").save(tmp_path / "right.keras")
    done = CliRunner().invoke(app, ["import", "keras", str(tmp_path / "right.keras"), "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "not compared with Keras: Keras" in done.output and words in done.output
    assert (tmp_path / "right.yaml").is_file()
