"""Masks from a first spec to pictures of the answer: drafted, trained, predicted, reported."""

from __future__ import annotations

import base64
import http.client
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.cli.report import page
from graphspec.compiler import compile
from graphspec.data.drafting import draft
from graphspec.data.encoders.images import ImageEncoder
from graphspec.data.loading import load
from graphspec.data.rows.outputs import run_lengths, unrolled
from graphspec.diagnostics import SpecError
from graphspec.runs.masks import UNCOUNTED
from graphspec.runs.report import report
from graphspec.runs.run import Run
from graphspec.serve import openapi
from graphspec.serve.app import Server
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.train.loop import train
from tests.serve.serving import ask, in_thread

SIZE = (48, 32)


def pairs(folder: Path, *masks: np.ndarray, ending: str = ".png", mask: str = "masks") -> Path:
    """Pictures and these masks, in two folders. Pictures show what the masks say."""
    for name in ("images", mask):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, values in enumerate(masks):
        Image.fromarray(values.astype(np.uint8)).save(folder / mask / f"{index}{ending}")
        Image.fromarray((values * 100 % 251).astype(np.uint8)).convert("RGB").save(
            folder / "images" / f"{index}.png"
        )
    return folder


def masks(*values: int, count: int = 8) -> list[np.ndarray]:
    """Masks of upright stripes of these values, which begin elsewhere in each."""
    stripes = np.array(values).repeat(-(-SIZE[0] // len(values)))[: SIZE[0]]
    return [np.tile(np.roll(stripes, 5 * index), (SIZE[1], 1)) for index in range(count)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("masks")
    pairs(place / "photos", *masks(0, 1, 2, 255), ending="_mask.png")
    (place / "s.yaml").write_text(draft("s", place / "photos", ["masks"], place))
    program = compile(place / "s.yaml", settings={"train.epochs": 4})
    train(program, root=place, run_dir=place / "run", device="cpu", tell=lambda line: None)
    return Run(place / "run")


def test_classes_are_read_off_the_pixels(tmp_path: Path) -> None:
    heads = {
        (0, 255): ("filters: 1, kernel_size: 1, activation: sigmoid", ", values: [0, 255]"),
        (0, 1): ("filters: 1, kernel_size: 1, activation: sigmoid", ""),
        (0, 1, 2): ("filters: 3, kernel_size: 1, activation: softmax", ""),
        (0, 1, 4, 255): ("filters: 5, kernel_size: 1, activation: softmax", ""),
        (0, 100, 200): ("filters: 3, kernel_size: 1, activation: softmax", ", values: [0, 100, 200]"),
    }
    for number, (values, (head, written)) in enumerate(heads.items()):
        folder = pairs(tmp_path / str(number), *masks(*values))
        text = draft("s", folder, ["masks"], tmp_path)
        assert head in text and f"root: ../masks{written}}}" in text
        assert ("ignore_class: 255" in text) == (values[-1] == 255 and len(values) > 2)
        assert draft("s", folder / "images", ["masks"], tmp_path) == text
        assert draft("s", folder / "images", [str(folder / "masks")], tmp_path) == text
        (tmp_path / "s.yaml").write_text(text)
        compile(tmp_path / "s.yaml")


def test_rare_classes_are_weighed(tmp_path: Path) -> None:
    rare = [each * (np.arange(SIZE[0]) == 0) for each in masks(0, 1)]
    assert "class_weight: balanced" in draft("s", pairs(tmp_path / "a", *rare), ["masks"], tmp_path)
    assert "class_weight" not in draft("s", pairs(tmp_path / "b", *masks(0, 1)), ["masks"], tmp_path)


def test_two_columns_of_a_table_name_pictures_and_masks(tmp_path: Path) -> None:
    pairs(tmp_path, *masks(0, 255))
    lines = [f"{index},images/{index}.png,{index}.png" for index in range(8)]
    (tmp_path / "t.csv").write_text("number,photo,outline\n" + "\n".join(lines))
    text = draft("s", tmp_path / "t.csv", ["outline"], tmp_path)
    assert "photo: {column: photo, encode: image}" in text
    assert "outline: {column: outline, encode: image, root: images, values: [0, 149]}" in text
    (tmp_path / "t.csv").write_text(
        "photo,outline\n" + "\n".join(f"images/{i}.png,masks/{i}.png" for i in range(8))
    )
    text = draft("s", tmp_path / "t.csv", ["outline"], tmp_path)
    (tmp_path / "s.yaml").write_text(text)
    assert compile(tmp_path / "s.yaml", settings={"train.epochs": 1}).fit(
        device="cpu", run_dir=tmp_path / "r"
    )


def test_what_are_no_masks_is_told(tmp_path: Path) -> None:
    def told(folder: Path, target: str = "masks") -> tuple[str, str]:
        with pytest.raises(SpecError) as caught:
            draft("s", folder, [target], tmp_path)
        (found,) = caught.value.diagnostics
        assert found.help is not None
        return found.code, found.message

    one = pairs(tmp_path / "one", *masks(7))
    assert told(one) == ("data-range", "all pixels of 8 masks are 7: there is one class")
    noise = pairs(tmp_path / "noise", *np.random.default_rng(0).integers(0, 255, (2, 32, 48)))
    code, message = told(noise)
    assert code == "data-range" and "255 pixel values" in message
    lacking = pairs(tmp_path / "lacking", *masks(0, 1))
    for index in (3, 5):
        (lacking / "masks" / f"{index}.png").unlink()
    code, message = told(lacking)
    assert code == "data-missing" and "3.png" in message and message.endswith("nor of 1 more pictures")
    turned = pairs(tmp_path / "turned", *masks(0, 1))
    Image.new("L", (32, 48)).save(turned / "masks" / "2.png")
    code, message = told(turned)
    assert code == "data-shape" and "32 x 48" in message and "48 x 32" in message
    broken = pairs(tmp_path / "broken", *masks(0, 1))
    (broken / "masks" / "4.png").write_text("no image")
    assert told(broken)[0] == "data-format"
    coloured = pairs(tmp_path / "coloured", *masks(0, 1))
    Image.new("RGB", SIZE, (1, 2, 3)).save(coloured / "masks" / "0.png")
    code, message = told(coloured)
    assert code == "data-range" and "is coloured" in message
    (broken / "more").mkdir()
    code, message = told(broken)
    assert code == "data-format" and "`images`, `more`" in message
    code, message = told(turned / "images", "outlines")
    assert code == "data-column" and "outlines" in message


def test_the_ending_of_masks_and_sizes_that_are_halved_are_told(tmp_path: Path) -> None:
    pairs(tmp_path / "photos", *masks(0, 1), ending="_mask.png")
    text = draft("s", tmp_path / "photos", ["masks"], tmp_path)
    spec = tmp_path / "s.yaml"
    wrong = {
        ", ending: _mask.png": ("", "data-missing", "write `ending: _mask.png` at the feature"),
        "shape: [32, 48, 3]": ("shape: [34, 50, 3]", "shapes-differ", "sizes that can be halved as often"),
    }
    for before, (after, code, help) in wrong.items():
        assert before in text
        spec.write_text(text.replace(before, after))
        with pytest.raises(SpecError) as caught:
            load(compile(spec), None, tmp_path, torch.device("cpu"))
        (found,) = caught.value.diagnostics
        assert found.code == code and help in (found.help or ""), found


def test_run_lengths_are_the_pixels() -> None:
    for pixels in (np.zeros((3, 4)), np.random.default_rng(0).integers(0, 3, (9, 7))):
        runs = run_lengths(pixels)
        assert (unrolled(runs.tolist(), pixels.shape[1]) == pixels).all()
        assert (runs[2::2] != runs[:-2:2]).all()


def called(run: Run, folder: Path) -> list[np.ndarray]:
    """The classes of pictures, computed by the module itself."""
    files = sorted((folder / "images").iterdir())
    pictures = np.stack([np.asarray(Image.open(file).convert("RGB").resize(SIZE, 2)) for file in files])
    channels = run.program.inputs["image"].shape[-1]
    with torch.no_grad():
        return [*run.module()(torch.from_numpy(pictures[..., :channels]).float()).argmax(-1).numpy()]


def test_masks_are_written_in_the_size_of_their_pictures(run: Run, tmp_path: Path) -> None:
    pairs(tmp_path, *masks(0, 1, 2))
    large = Image.open(tmp_path / "images" / "7.png").resize((96, 64), 0)
    large.save(tmp_path / "images" / "7.png")
    wanted = called(run, tmp_path)
    argv = ["predict", str(run.path), "--data", str(tmp_path / "images"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 0, done.output
    colours = json.loads((tmp_path / "out" / "classes.json").read_text())["masks"]
    assert [each["value"] for each in colours] == [0, 1, 2] and len({each["color"] for each in colours}) == 3
    table = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert table[0] == "file,masks,masks.0,masks.1,masks.2" and table[1].startswith("0.png,masks/0.png,")
    for index, classes in enumerate(wanted):
        mask = Image.open(tmp_path / "out" / "masks" / f"{index}.png")
        picture = Image.open(tmp_path / "images" / f"{index}.png").convert("RGB")
        assert mask.mode == "P" and mask.size == picture.size
        found = np.asarray(mask)[:: mask.height // SIZE[1], :: mask.width // SIZE[0]]
        assert (found == classes).all()
        over = np.asarray(Image.open(tmp_path / "out" / "masks.overlay" / f"{index}.png"))
        assert ((over != np.asarray(picture)).any(-1) <= (np.asarray(mask) > 0)).all()
    again = CliRunner().invoke(app, argv)
    assert again.exit_code == 2 and "holds files" in again.stderr
    rows = run.predict(tmp_path / "images").to_pylist()
    assert all(
        (unrolled(row["masks"], SIZE[0]) == each).all() for row, each in zip(rows, wanted, strict=True)
    )


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_mask_is_brought_back_to_its_picture(run: Run, resize: str) -> None:
    encoders = run.encoders()
    assert encoders is not None
    encoder = encoders.encoders["image"]
    assert isinstance(encoder, ImageEncoder)
    encoder.feature = encoder.feature.model_copy(update={"resize": resize, "interpolation": "nearest"})
    for size in ((48, 32), (96, 64), (192, 64), (48, 96)):
        draw = np.random.default_rng(0).integers(1, 3, (size[1] // 16, size[0] // 16)).astype(np.uint8)
        mask = Image.fromarray(np.kron(draw, np.ones((16, 16), np.uint8)))
        found = np.asarray(encoder.undone(encoder._resized(mask), size))
        seen = found > 0
        assert found.shape == (size[1], size[0]) and (seen.all() or resize == "crop")
        assert (found == np.asarray(mask))[seen].mean() > 0.95


def test_a_report_shows_where_masks_differ(run: Run) -> None:
    found, values = report(run, device="cpu"), run.evaluate(device="cpu")
    (output,) = found.outputs
    assert np.mean([each["iou"] for each in output.overlap]) == pytest.approx(values["mean_iou"])
    assert np.mean([each["dice"] for each in output.overlap]) == pytest.approx(values["mean_dice"])
    assert [each["class"] for each in output.overlap] == output.classes == ["0", "1", "2"]
    counted = sum(int((mask != 255).sum()) for mask in masks(0, 1, 2, 255)) // 8 * found.examples
    assert np.sum(output.confusion) == counted
    assert output.worst[0].error == max(each.error for each in output.worst + output.best)
    assert [*output.worst[0].pictures] == ["image", "target", "predicted", "differs"]
    shown = {key: decoded(url) for key, url in output.worst[0].pictures.items()}
    wrong = (shown["target"] != shown["predicted"]).any(-1)
    grey = (shown["target"] == UNCOUNTED).all(-1)
    assert grey.mean() == pytest.approx(0.25) and (shown["differs"][grey] == UNCOUNTED).all()
    assert (shown["differs"][wrong & ~grey] == shown["predicted"][wrong & ~grey]).all()
    assert not shown["differs"][~wrong].any()
    assert "Overlap of each class" in page(found)


def decoded(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_a_server_answers_a_picture_with_its_mask(run: Run, tmp_path: Path) -> None:
    pairs(tmp_path, *masks(0, 1, 2, count=1))
    (wanted,) = called(run, tmp_path)
    content = (tmp_path / "images" / "0.png").read_bytes()
    with in_thread(Server({"run": Served("run", run.path)}, ServeOptions())) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        kinds = {"Content-Type": "image/png", "Accept": "image/png"}
        connection.request("POST", "/predict", content, kinds)
        answer = connection.getresponse()
        mask = Image.open(io.BytesIO(answer.read()))
        connection.close()
        assert answer.headers["content-type"] == "image/png" and (np.asarray(mask) == wanted).all()
        status, found = ask(port, content, kind="image/png")
        assert status == 200 and (unrolled(found["masks"], SIZE[0]) == wanted).all()
        assert sum(found[f"masks.{value}"] for value in range(3)) == pytest.approx(1)
        row = {"image": base64.b64encode(content).decode()}
        assert ask(port, [row], Accept="image/png")[0] == 406
    document = openapi.document({"run": Served("run", run.path)})
    assert "image/png" in document["paths"]["/predict"]["post"]["responses"]["200"]["content"]


@pytest.mark.parametrize("values", [(0, 1, 2, 255), (0, 255)])
def test_a_file_of_onnx_says_the_class_of_each_pixel(
    run: Run, values: tuple[int, ...], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pairs(tmp_path / "photos", *masks(*values))
    if len(values) == 2:
        (tmp_path / "s.yaml").write_text(draft("s", tmp_path / "photos", ["masks"], tmp_path))
        program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
        train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", tell=lambda line: None)
        run = Run(tmp_path / "run")
    done = CliRunner().invoke(app, ["build", str(run.path), "-o", str(tmp_path / "m.onnx")])
    assert done.exit_code == 0, done.output
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    files = sorted((tmp_path / "photos" / "images").iterdir())
    channels = run.program.inputs["image"].shape[-1]
    pictures = np.stack([np.asarray(Image.open(file).convert("RGB"), np.float32) for file in files])
    (found,) = session.run(None, {"image": pictures[..., :channels]})
    wanted = [
        unrolled(row["masks"], SIZE[0]) for row in run.predict(tmp_path / "photos" / "images").to_pylist()
    ]
    assert (found == np.stack(wanted)).mean() > 0.999 and set(np.unique(found)) <= set(values)


def test_a_run_without_masks_writes_no_folder(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "inputs: {x: {shape: [1]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: {y: {loss: mse}}\n"
    )
    train(compile(tmp_path / "s.yaml", settings={"train.epochs": 1}), run_dir=tmp_path / "run", device="cpu")
    (tmp_path / "t.csv").write_text("x\n1\n")
    argv = ["predict", str(tmp_path / "run"), "--data", str(tmp_path / "t.csv"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 1 and "not-supported" in done.stderr and not (tmp_path / "out").exists()
