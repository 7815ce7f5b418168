"""A diagnostic as a value: a coded message, its place, a remedy."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

OF_SPECS: dict[str, str] = {
    "softmax-of-one": "a softmax over one value, which is always 1",
    "softmax-twice": "a softmax of a softmax",
    "accuracy-misfit": "accuracy of a regression",
    "dropout-last": "an output with dropout in training",
    "flatten-missing": "a class for each position of an image, after a Dense",
    "channels-first": "an image whose channels seem to come first",
    "momentum-low": "a momentum of moving statistics in PyTorch's convention",
    "unused-ok": "a comment that silences no warning",
    "target-is-input": "a target that an input reads as well",
    "same-data": "one file to train and to validate or test",
    "hidden-softmax": "a softmax in a hidden layer",
    "linear-stack": "two Dense layers without an activation between them",
    "chained-input": "an input that a chain gives counts the instances",
    "mask-unread": "a mask of padding that no layer reads",
    "softmax-misfit": "a regression loss on a softmax",
    "mode-misfit": "a mode or direction that selects the worst value",
    "weight-zero": "a loss of weight 0",
    "loss-unused": "a loss that no step of a training names",
    "rate-high": "a learning rate above 1",
}
"""The warnings that a spec alone decides."""
OF_ROWS: dict[str, str] = {
    "losses-apart": "a loss much larger than the others, because its target is not scaled",
    "unscaled": "numbers of a wide spread in a layer with weights",
    "raw-pixels": "pixels from 0 to 255 in a layer with weights",
    "target-beyond": "targets that the activation of an output cannot reach",
    "never-acts": "a patience or a warm-up that is longer than the training",
    "time-split": "rows in the order of time, split at random",
    "no-gradient": "a loss whose gradient reaches no weight, or weights that no loss reaches",
    "dead-units": "units that are 0 for every input, and so do not learn",
}
"""The warnings that rows of its data decide, at least for some specs."""
CODES: dict[str, str] = {
    # reading YAML
    "encoding": "the file is not UTF-8 text",
    "control-character": "the text holds an invisible or control character",
    "file-too-large": "the file is longer than a spec may be",
    "empty-document": "the file holds nothing",
    "not-a-mapping": "the top level of a spec is not a mapping",
    "yaml-syntax": "the text is not YAML",
    "yaml-tab": "a tab in the indentation, which YAML does not allow",
    "yaml-tag": "tags such as `!x` are not part of the language",
    "yaml-directive": "directives such as `%YAML` are not part of the language",
    "merge-key": "the merge key `<<` is not part of the language",
    "several-documents": "a file holds several documents",
    "unknown-anchor": "an alias names no anchor above it",
    "recursive-anchor": "an anchor contains itself",
    "too-many-aliases": "aliases expand to too many values",
    "too-deep": "values are nested too deeply",
    "duplicate-key": "a mapping has the same key twice",
    "not-indented": "lines that belong below a key are not indented",
    "null-key": "a mapping has an empty key, or a key without a value",
    "complex-key": "a key is a list or a mapping",
    "unquoted-expression": "YAML cuts an expression that is not quoted",
    "hole": "something is left to be filled in",
    # expressions
    "dollar-brace": "`${name}` is not a param; `$name` and `$(name)` are",
    "lone-dollar": "a dollar sign without a name after it",
    "unclosed-expression": "`$(` is never closed",
    "expression-syntax": "an expression cannot be parsed",
    "expression-form": "an expression uses a form that the language does not have",
    "expression-attribute": "an expression reads an attribute",
    "expression-too-long": "an expression is too long or nested too deeply",
    "unknown-function": "an expression calls an unknown function",
    "call-arguments": "a function of an expression gets the wrong number of arguments",
    "unknown-name": "an expression uses an unknown name",
    "unknown-channels": "`channels(x)` names no input whose last axis is known",
    "unknown-vocabulary": "`vocabulary(x)` names no feature with a known number of ids",
    "operand-type": "an operation of an expression does not fit the types of its values",
    "division-by-zero": "an expression divides by zero",
    "index-out-of-range": "an expression reads past the end of a list",
    "number-too-large": "a number is infinite or has too many digits",
    "value-too-long": "a list or a string of an expression is too long",
    # warnings, which a comment silences but for this one
    **OF_SPECS,
    **OF_ROWS,
    "synthetic-data": "a model is used that was trained on synthetic data",
    # the language
    "unknown-key": "a key that does not exist here",
    "unknown-layer": "a layer that does not exist",
    "unknown-merge": "a merge that does not exist",
    "unknown-op": "an operation that does not exist",
    "unknown-block": "a block that does not exist",
    "unknown-reference": "a reference to something that does not exist",
    "unknown-loss": "a loss that does not exist",
    "unknown-metric": "a metric that does not exist",
    "unknown-optimizer": "an optimizer that does not exist",
    "unknown-schedule": "a learning rate schedule that does not exist",
    "unknown-weight": "a pattern that matches the path of no weight",
    "unknown-callback": "a callback that does not exist",
    "unknown-monitor": "a callback monitors a value that an epoch does not have",
    "callback-misfit": "a callback that cannot work with the rest of `train`",
    "unknown-objective": "a search optimizes a value that no run reports",
    "unknown-preset": "a preset that does not exist",
    "unknown-param": "a param that does not exist",
    "missing-key": "a required key is missing",
    "wrong-type": "a value of the wrong type",
    "out-of-range": "a value outside its range",
    "input-count": "the wrong number of inputs",
    "shapes-differ": "shapes that must agree do not",
    "wrong-dtype": "a tensor of the wrong type",
    "wrong-rank": "a tensor with the wrong number of axes",
    "window-too-large": "a window is larger than its input",
    "unknown-size": "a size must be known here",
    "cycle": "nodes depend on one another in a cycle",
    "unreachable-node": "a node reaches no output",
    "default-misfit": "a default that an input cannot have",
    "unused-input": "an input that nothing reads",
    "spec-missing": "a spec file that cannot be read",
    "unused-block": "a block that nothing uses",
    "unused-param": "a param that nothing uses",
    "unused-shared": "a shared layer that nothing calls",
    "unbound-output": "an output without a node",
    "loss-misfit": "a loss that cannot fit its output",
    "duplicate-name": "one name for two things",
    "reserved-name": "a reserved name",
    "bad-name": "a name that is not an identifier",
    "from-and-edges": "a node has both `from` and edges",
    "no-input": "a node has no input",
    "two-forms": "a node has two forms",
    "no-form": "a node has no form",
    "repeat-shapes": "the instances of a repetition do not chain",
    "left-out": "a node that was left out is read",
    "model-missing": "a model file that cannot be read",
    "model-recursive": "a model file that includes itself",
    "model-outside": "a model file outside the directory of the spec",
    "block-recursive": "a block that contains itself",
    "weights-missing": "a file of weights that cannot be read",
    "weights-misfit": "weights that do not fit the model",
    "weights-ambiguous": "weights that could come from a file in several ways",
    "rules-missing": "a file of rules for weights that cannot be read",
    "shared-differs": "a shared layer is called on inputs that do not fit one set of weights",
    # data, building and training
    "not-supported": "a key or value that this version does not support",
    "unknown-encoder": "an encoder of a feature that does not exist",
    "unused-feature": "a feature that fills no input and no target",
    "feature-misfit": "a feature that does not fit its input or target",
    "windows-misfit": "windows over time that do not fit the features, the split or the shapes",
    "data-missing": "a data file that cannot be read",
    "data-outside": "a data file outside the directory of the spec",
    "data-format": "a data file that is not what its name says, or in a format that is not supported",
    "data-column": "a column or array that the data lack",
    "data-empty": "data without examples, or too few to split",
    "data-shape": "data of the wrong shape",
    "data-dtype": "data of the wrong type",
    "data-range": "a label or token outside its range",
    "data-nonfinite": "data that hold NaN or infinity",
    "data-gap": "a missing value where one is required",
    "data-order": "steps of a series that repeat, fall, or leave a gap",
    "data-space": "no room on the disk for data that do not fit in memory",
    "cannot-adapt": "a layer cannot learn from training data before the first step",
    "nothing-to-train": "no output has a loss, or no weight is trainable",
    "device-missing": "a device that this machine lacks",
    "non-finite-loss": "the loss became NaN or infinite",
    "run-missing": "a directory without a run",
    "run-directory": "a run directory that cannot be written",
    "resume-failed": "a run that cannot be resumed: another spec, other data, or no complete checkpoint",
    "emission-failed": "the emitted module would not be what the spec says: a fault of graphspec",
    "build-failed": "torch cannot create or run the module",
    "run-failed": "torch cannot train the module",
    "not-causal": "a node that needs later steps, in a model that goes on step by step",
    "prompt-misfit": "a prompt that a model cannot go on from",
    "export-failed": "torch or onnxruntime cannot take the module",
    "fold-differs": "a folded program does not compute what the program computes",
    "export-differs": "an exported program does not compute what the module computes",
    "score-falls": "an 8-bit model scores worse than the float32 model by more than is allowed",
    "import-format": "a file that is not a model that can be imported",
    "import-unsafe": "a file with unsafe content: code, links, paths out of it, archive bombs",
    "import-differs": "an imported model does not compute what Keras computes",
    "import-unsupported": "a part of an imported model that a spec cannot express",
    "module-not-allowed": "custom code that is not allowed to run",
    "address-not-allowed": "an address that a spec writes to, which needs permission",
    "module-missing": "custom code that cannot be imported",
    "module-differs": "a custom module returns something else than it declares",
    "bundle-misfit": "custom code that cannot be copied into the emitted file",
    "usage": "a command with wrong arguments",
    "output-file": "a file of results that cannot be written",
    "nothing-to-tune": "a search of a spec without `tune`",
    "tune-storage": "a study's file or database that cannot be opened",
    "tune-differs": "a study that was started with another search",
    "tune-fails": "a search whose first trials all fail for the same reason",
    "package-missing": "a format that needs packages that are not installed",
}
"""Every code of the compiler and what it means. The set is closed: `Diagnostic` refuses any other."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A place in a file: lines and columns from 1, columns in characters, the end exclusive.

    A file that is no text has no lines: all four are 0, and `where` says the place in words, or is "" for the
    whole file.
    """

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    where: str = ""

    def __str__(self) -> str:
        if not self.line:
            return f"{self.file}: {self.where}" if self.where else self.file
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Label:
    """A secondary place of a diagnostic, with its label."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake. Codes are stable, users search for them: one that is not in `CODES` raises ValueError."""

    code: str
    message: str
    span: Span | None
    _: KW_ONLY
    label: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: str = "error"

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown diagnostic code {self.code!r}")

    def to_json(self) -> dict[str, Any]:
        """The shape of `check --json`; secondary places are appended to the notes."""
        span = self.span
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": span.file if span else None,
            "line": span.line or None if span else None,
            "column": span.column or None if span else None,
            "end_line": span.end_line or None if span else None,
            "end_column": span.end_column or None if span else None,
            "help": self.help,
            "notes": [*self.notes, *(f"{label.span}: {label.text}" for label in self.labels)],
        }
