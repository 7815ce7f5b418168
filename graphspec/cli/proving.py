"""`prove` and `verify`: a spec against a module that was written by hand, and the certificate of that."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli.common import Allow, Json, Preset, Set, Spec, compiling, misuse
from graphspec.cli.outputs import check_output, need_apart_from, write
from graphspec.cli.printing import print_json, reporting
from graphspec.diagnostics.terminal import say

if TYPE_CHECKING:
    from graphspec.convert.pytorch.against import Equality
    from graphspec.program import Program

Against = Annotated[
    str,
    typer.Option(
        "--against", metavar="FILE.py:CALLABLE", help="A class or function that returns the module."
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="A file with a state dict of the module."),
]
RulesOption = Annotated[
    str | None,
    typer.Option("--rules", metavar="RULES", help="A file of rules, as `graphspec weights` takes it."),
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write a certificate, .json.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]


def prove(
    spec: Spec,
    target: Against,
    weights: WeightsOption = None,
    rules: RulesOption = None,
    output: Output = None,
    force: Force = False,
    allow: Allow = None,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Show that a spec computes what a module by hand does.

    The weights of the module are those of the spec, matched by name and shape; outputs in inference and
    gradients in training are compared on random inputs. An error names the first node that differs.

    Example: graphspec prove specs/digits.yaml --against net.py:Net --allow net
    """
    if output is not None:
        check_output(output, None, force, [spec, Path(target.rpartition(":")[0]), weights])
        if output.suffix != ".json":
            raise misuse("-o", f"{output} does not end in .json")
    with compiling(spec, settings, preset, as_json, allow) as program:
        need_apart_from(program, output)
        record, found = _compared(program, target, weights, rules, allow)
        if output is not None:
            import json

            write(output, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    _tell(found, target, as_json, {"file": None if output is None else str(output)})
    if output is not None and not as_json:
        say(f"wrote {output}: `graphspec verify {output}` compares both again")


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate of `graphspec prove`.")],
    target: Annotated[
        str | None,
        typer.Option("--against", metavar="FILE.py:CALLABLE", help="The module, where it has moved."),
    ] = None,
    weights: WeightsOption = None,
    rules: RulesOption = None,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Check again what a certificate says is equal.

    Nothing in the file is believed. Where the module, its weights or its file are others than those that were
    compared, that is said.

    Example: graphspec verify digits.proof.json --allow my_model
    """
    with reporting(as_json):
        from graphspec.compiler import compile
        from graphspec.diagnostics import fail
        from graphspec.files.reading import parse_json, read_text
        from graphspec.files.records import Certificate, record_of

        try:
            known = record_of(Certificate, parse_json(read_text(file)))
        except (OSError, ValueError) as error:
            message = f"`{file}` is not a certificate: {getattr(error, 'strerror', None) or error}"
            raise fail(
                "import-format", message, "make one: `graphspec prove SPEC --against FILE.py:Net -o FILE`"
            ) from None
        program = compile(f"{known.spec}\n", allow=allow or ())
        target = target or _beside(known.against, file)
        record, found = _compared(program, target, weights, rules, allow)
    same = {
        "module": record["module_sha256"] == known.module_sha256,
        "weights": record["weights_sha256"] == known.weights_sha256,
    }
    if not as_json:
        for what, is_same in same.items():
            if not is_same:
                say(
                    f"note: the {what} {'is' if what == 'module' else 'are'} not what was compared then",
                    sys.stderr,
                )
    _tell(found, target, as_json, {"same": same})


def _beside(target: str, file: Path) -> str:
    """The module that a certificate names, from the working directory or from the certificate."""
    home, _, name = target.rpartition(":")
    if not home.endswith(".py") or Path(home).is_file():
        return target
    if (file.parent / home).is_file():
        return f"{file.parent / home}:{name}"
    raise misuse(
        "FILE", f"it names {home}, which is not here", f"say where that is: `--against FILE.py:{name}`"
    )


def _compared(
    program: Program, target: str, weights: Path | None, rules: str | None, allow: list[str] | None
) -> tuple[dict[str, Any], Equality]:
    """The record of a comparison, and what was found. Raises `SpecError`."""
    from graphspec.convert.pytorch.against import against, digest, made
    from graphspec.convert.pytorch.asked import BadOption, load, place_of
    from graphspec.files.reading import digest as digest_of
    from graphspec.transfer.rules import load_rules
    from graphspec.version import __version__

    try:
        module = made(target, allow or [])
    except BadOption as error:
        raise misuse("--against", error.message) from None
    if weights is not None:
        load(module, weights)
    found = against(program, module, target, load_rules(rules) if rules is not None else None)
    home, _, _ = place_of(target)
    code = Path(getattr(sys.modules.get(home), "__file__", None) or "")
    record = {
        "graphspec": __version__,
        "spec": program.resolve(),
        "against": target,
        "module_sha256": digest_of(code) if code.is_file() else None,
        "weights_sha256": digest(module),
        **found.to_json(),
    }
    return record, found


def _tell(found: Equality, target: str, as_json: bool, more: dict[str, Any]) -> None:
    if as_json:
        print_json({"ok": True, **found.to_json(), **more})
        return
    say(f"equal to `{target}`: outputs to {found.outputs:.1e} on random inputs, in batches of 2 and 3")
    if found.gradients is None:
        say(f"gradients are not compared: {found.why}")
    else:
        say(f"in training mode gradients are equal to {found.gradients:.1e}")
    say(f"{found.weights} weights have their tensors of the module")
