"""Pictures: decoding, channels, sizes, what is refused, folders of them, and augmentation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from graphspec.compiler import check, compile
from graphspec.data.augmented import Augmented
from graphspec.data.batches import InMemory, Shuffle
from graphspec.data.checking import check_files
from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.features import parse_features
from graphspec.data.features.plan import plan_fills
from graphspec.data.loading import load
from graphspec.diagnostics import Diagnostics, SpecError
from graphspec.runs.run import Run
from graphspec.tensor import Tensor, symbol
from graphspec.train.loop import train

BATCH = symbol("batch")
CPU = torch.device("cpu")


def encode(root: Path, values: list[Any], shape: tuple[int, ...] = (4, 4, 3), **feature: Any) -> Any:
    tensor = Tensor((BATCH, *shape), "uint8")
    features = parse_features({"x": {"encode": "image", **feature}})
    made = Encoders(plan_fills({"x": tensor}, {}, features, {}), {})
    table = pa.table({"x": values})
    part = TablePart(table, np.arange(len(values)), "t.csv", lambda row: f"line {row + 2}", root=root)
    return made.encode(part).arrays["x"]


def mistake(call: Any, *arguments: Any, **more: Any) -> Any:
    with pytest.raises(SpecError) as caught:
        call(*arguments, **more)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def saved(root: Path, name: str, array: Any, **more: Any) -> str:
    Image.fromarray(np.asarray(array, np.uint8)).save(root / name, **more)
    return name


COLORS = np.random.default_rng(0).integers(0, 256, (4, 4, 3))


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "gif"])
def test_pictures_are_read_as_they_are(tmp_path: Path, suffix: str) -> None:
    two = np.where(np.arange(16).reshape(4, 4, 1) % 5 < 2, [255, 0, 0], [0, 0, 255])
    name = saved(tmp_path, f"a.{suffix}", two, **({"lossless": True} if suffix == "webp" else {}))
    assert encode(tmp_path, [name]).tolist() == [two.tolist()]


def test_a_jpeg_is_read_by_its_contents_not_its_name(tmp_path: Path) -> None:
    saved(tmp_path, "a.jpg", np.full((4, 4, 3), 100), quality=95)
    (tmp_path / "a.jpg").rename(tmp_path / "a.dat")
    assert np.abs(encode(tmp_path, ["a.dat"]).astype(int) - 100).max() <= 2


def test_channels_are_those_of_the_input(tmp_path: Path) -> None:
    name = saved(tmp_path, "a.png", COLORS)
    grey = np.asarray(Image.fromarray(COLORS.astype(np.uint8)).convert("L"))
    assert encode(tmp_path, [name], (4, 4, 1))[0, :, :, 0].tolist() == grey.tolist()
    assert (encode(tmp_path, [name], (4, 4, 4))[..., 3] == 255).all()
    palette = Image.fromarray(COLORS.astype(np.uint8)).quantize(4)
    palette.save(tmp_path / "p.png")
    assert encode(tmp_path, ["p.png"])[0].tolist() == np.asarray(palette.convert("RGB")).tolist()


def test_sixteen_bits_are_scaled_down(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255, 256, 65535]] * 4, np.uint16)).save(tmp_path / "a.png")
    assert encode(tmp_path, ["a.png"], (4, 4, 1))[0, 0, :, 0].tolist() == [0, 0, 1, 255]


def test_a_picture_stands_as_its_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0, :2] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert encode(tmp_path, ["a.png"])[0].tolist() == np.rot90(pixels, -1).tolist()


def test_sizes_are_brought_to_that_of_the_input(tmp_path: Path) -> None:
    wide = np.zeros((2, 8, 3), np.uint8)
    wide[:, 2:6] = 200
    name = saved(tmp_path, "a.png", wide)
    assert (encode(tmp_path, [name], (2, 4, 3), resize="crop") == 200).all()
    padded = encode(tmp_path, [name], (8, 8, 3), resize="pad")
    assert (padded[:, :3] == 0).all() and (padded[:, 3:5] == wide).all() and (padded[:, 5:] == 0).all()
    stretched = encode(tmp_path, [name], (2, 4, 3), interpolation="nearest", antialias=False)
    assert stretched[0, 0, :, 0].tolist() == [0, 200, 200, 0]
    whole = Image.fromarray(wide).resize((4, 2), Image.Resampling.BILINEAR)
    assert encode(tmp_path, [name], (2, 4, 3))[0].tolist() == np.asarray(whole).tolist()


def test_a_crop_stays_inside_of_an_image_of_any_size(tmp_path: Path) -> None:
    names = [
        saved(tmp_path, f"{width}-{height}.png", np.full((height, width, 3), 7, np.uint8))
        for width in range(41, 60, 3)
        for height in range(41, 60, 3)
    ]
    assert (encode(tmp_path, names, (64, 64, 3), resize="crop") == 7).all()


def test_bytes_in_a_column_are_pictures_too(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.fromarray(COLORS.astype(np.uint8)).save(held, "png")
    assert encode(tmp_path, [held.getvalue()]).tolist() == [COLORS.tolist()]
    assert encode(tmp_path, [{"bytes": held.getvalue(), "path": "a.png"}]).tolist() == [COLORS.tolist()]


def test_a_missing_picture_is_an_error_or_black(tmp_path: Path) -> None:
    name = saved(tmp_path, "a.png", COLORS)
    found = mistake(encode, tmp_path, [name, None])
    assert found.code == "data-gap" and "line 3" in found.message and "fill: zero" in found.help
    assert not encode(tmp_path, [name, None], fill="zero")[1].any()


def test_what_is_no_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = saved(tmp_path, "a.png", COLORS)
    whole = (tmp_path / name).read_bytes()
    for content in (b"", b"text", whole[:40]):
        (tmp_path / "b.png").write_bytes(content)
        found = mistake(encode, tmp_path, [name, "b.png"])
        assert found.code == "data-format" and "line 3" in found.message and "b.png" in found.message
    assert mistake(encode, tmp_path, ["none.png"]).code == "data-missing"
    (tmp_path.parent / "out.png").write_bytes(whole)
    for path in ("../out.png", str(tmp_path.parent / "out.png")):
        assert mistake(encode, tmp_path, [path]).code == "data-outside"
    (tmp_path / "link.png").symlink_to(tmp_path.parent / "out.png")
    assert mistake(encode, tmp_path, ["link.png"]).code == "data-outside"
    monkeypatch.setattr("graphspec.data.encoders.images.PIXELS", 15)
    assert mistake(encode, tmp_path, [name]).code == "data-range"


SPEC = """
inputs:
  picture: {shape: [4, 4, 1], dtype: uint8}
nodes:
  scaled: {layer: Rescaling, scale: 0.01}
  flat:   {layer: Flatten}
  kind:   {layer: Dense, units: 2, activation: softmax}
outputs:
  kind: {loss: sparse_categorical_crossentropy}
data:
  train: pictures
"""


def folder(path: Path, each: int = 5) -> Path:
    for name, value in (("light", 200), ("dark", 20)):
        (path / "pictures" / name).mkdir(parents=True)
        for index in range(each):
            saved(path / "pictures" / name, f"{index}.png", np.full((6, 6), value + index))
    (path / "s.yaml").write_text(SPEC)
    return path / "s.yaml"


def test_a_folder_of_pictures_needs_no_features(tmp_path: Path) -> None:
    training = load(compile(folder(tmp_path)), None, tmp_path, CPU).training
    assert isinstance(training, InMemory)
    assert training.arrays["picture"].dtype == torch.uint8
    batch = next(training.batches(10))
    assert batch.arrays["kind"].tolist() == [0] * 5 + [1] * 5
    assert batch.arrays["picture"][:, 0, 0, 0].tolist() == [20, 21, 22, 23, 24, 200, 201, 202, 203, 204]


def test_a_limit_takes_images_of_every_class(tmp_path: Path) -> None:
    program = compile(folder(tmp_path))
    training = load(program, None, tmp_path, CPU, limit=5).training
    batch = next(training.batches(10))
    assert batch.arrays["kind"].tolist() == [0] * 3 + [1] * 2
    assert batch.arrays["picture"][:, 0, 0, 0].tolist() == [20, 21, 22, 200, 201]
    table = "\n".join(["photo,kind", *(f"{index}.png,dark" for index in range(3)), "3.png,light"])
    (tmp_path / "list.csv").write_text(table + "\n")
    listed = LISTED.replace("  key: id\n", "").replace("pictures", "pictures/dark")
    listed = SPEC.partition("data:")[0] + listed
    assert len(load(compile(listed), None, tmp_path, CPU).training) == 4
    with pytest.raises(SpecError, match="one value in the 2 rows that `--limit` reads") as caught:
        load(compile(listed), None, tmp_path, CPU, limit=2)
    assert "units" not in str(caught.value) and "list all `values`" in str(caught.value)


def test_an_empty_folder_among_classes_is_told(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (tmp_path / "pictures" / "grey").mkdir()
    said = f"the folder `grey` in `{tmp_path / 'pictures'}` holds no images, so it is not a class"
    assert said in load(compile(path), None, tmp_path, CPU).notes
    (warned,) = check_files(compile(path), tmp_path)
    assert (warned.code, warned.severity, warned.message) == ("data-empty", "warning", said)
    with pytest.raises(SpecError, match="has 3 classes") as caught:
        load(compile(path.read_text().replace("units: 2", "units: 3")), None, tmp_path, CPU)
    assert said in str(caught.value)


def test_predictions_for_a_folder_name_the_files(tmp_path: Path) -> None:
    compile(folder(tmp_path, 2)).fit(tmp_path / "pictures", run_dir=tmp_path / "run")
    for place, names in (
        ("pictures", ["dark/0.png", "dark/1.png", "light/0.png", "light/1.png"]),
        ("pictures/dark", ["0.png", "1.png"]),
        ("pictures/dark/1.png", ["1.png"]),
    ):
        table = Run(tmp_path / "run").predict(tmp_path / place, device="cpu")
        assert table.column_names[:2] == ["file", "kind"] and table["file"].to_pylist() == names


LISTED = """\
data:
  train: list.csv
  key: id
  features:
    picture: {column: photo, encode: image, root: pictures}
    kind:    {column: kind, encode: category}
"""


def test_a_model_of_a_column_of_pictures_predicts_for_a_folder(tmp_path: Path) -> None:
    spec = folder(tmp_path, 2)
    names = ["dark/0.png", "dark/1.png", "light/0.png", "light/1.png"]
    rows = [f"{index},{name},{name.partition('/')[0]}" for index, name in enumerate(names)]
    (tmp_path / "list.csv").write_text("\n".join(("id,photo,kind", *rows)) + "\n")
    spec.write_text(SPEC.partition("data:")[0] + LISTED)
    train(compile(spec), root=tmp_path, run_dir=tmp_path / "run", device="cpu")
    run = Run(tmp_path / "run")
    expected = run.predict(tmp_path / "list.csv", device="cpu")
    assert expected.column_names[0] == "id"
    found = run.predict(tmp_path / "pictures", device="cpu")
    assert found["file"].to_pylist() == names
    assert found.drop_columns("file").equals(expected.drop_columns("id"))
    one = run.predict(tmp_path / "pictures" / "light" / "1.png", device="cpu")
    assert one["kind"].to_pylist() == expected["kind"].to_pylist()[3:] and one["file"].to_pylist() == [
        "1.png"
    ]


def test_a_model_of_arrays_predicts_for_a_folder_of_pictures(tmp_path: Path) -> None:
    spec, names = folder(tmp_path, 2), ("dark/0", "dark/1", "light/0", "light/1")
    pictures = [np.asarray(Image.open(tmp_path / "pictures" / f"{name}.png")) for name in names]
    small = [picture[:4, :4, None] for picture in pictures]  # each of one colour
    np.savez(tmp_path / "d.npz", picture=np.stack(small), kind=[0, 0, 1, 1])
    train(compile(spec), data=tmp_path / "d.npz", run_dir=tmp_path / "run", device="cpu")
    run, told = Run(tmp_path / "run"), list[str]()
    expected = run.predict(tmp_path / "d.npz", device="cpu")
    (found,) = run.predictions(tmp_path / "pictures", device="cpu", noted=told.extend)
    assert found.drop_columns("file").equals(expected)
    assert told == ["picture: images of 4 x 4, of values from 0 to 255"]


AUGMENT = """\
  features:
    picture:
      column: image
      encode: image
      augment:
        - {layer: RandomFlip, mode: horizontal}
        - {layer: RandomBrightness, factor: 0.2}
    kind: {column: label, encode: category}
"""


def test_augmentation_is_exact_after_a_resume_and_acts_in_training_alone(tmp_path: Path) -> None:
    path = folder(tmp_path)
    path.write_text(SPEC + AUGMENT)
    training = load(compile(path), None, tmp_path, CPU).training
    assert isinstance(training, Augmented)
    state = torch.get_rng_state()
    whole = [batch.arrays["picture"] for batch in training.batches(3, Shuffle(7, 1))]
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(5)
    again = [batch.arrays["picture"] for batch in training.batches(3, Shuffle(7, 1), 6)]
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], again, strict=True))
    plain = [batch.arrays["picture"] for batch in training.examples.batches(3, Shuffle(7, 1))]
    assert not torch.equal(torch.cat(plain), torch.cat(whole))
    other = [batch.arrays["picture"] for batch in training.batches(3, Shuffle(7, 2))]
    assert not torch.equal(torch.cat(other), torch.cat(whole))
    still = next(training.batches(10)).arrays["picture"]
    assert torch.equal(still, next(training.examples.batches(10)).arrays["picture"])
    assert torch.cat(whole).dtype == torch.uint8


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("{layer: Dense, units: 3}", "wrong-type"),
        ("{mode: horizontal}", "wrong-type"),
        ("{layer: RandomFlip, mode: sideways}", "out-of-range"),
        ("{layer: RandomFlop}", "unknown-layer"),
        ("{layer: RandomFlip, factor: 1}", "unknown-key"),
        ("{layer: RandomCrop, height: 2, width: 2}", "feature-misfit"),
    ],
)
def test_a_mistake_in_augment_is_found_before_training(tmp_path: Path, entry: str, code: str) -> None:
    path = folder(tmp_path)
    path.write_text(SPEC + AUGMENT.replace("{layer: RandomBrightness, factor: 0.2}", entry))
    diagnostics = Diagnostics()
    check(path, diagnostics, {})
    (found,) = diagnostics.sorted()
    assert found.code == code and found.span is not None
    assert found.span.line == (18 if code != "feature-misfit" else 17)
