"""Fourier transforms of keras.ops.

A complex signal is two tensors, its real and imaginary parts, where Keras has a tuple of them. The node of a
complex result is the real part, and its output `imag` is the imaginary part.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from graphspec.contract.fields import Positive
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Ref, Site
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor


def _need_signals(name: str, *inputs: Tensor, axes: int = 1) -> None:
    """Refuses all but floats of one shape and type, with at least `axes` axes after the batch."""
    for position, x in enumerate(inputs):
        if x.dtype not in ("float32", "float64") or x.dtype != inputs[0].dtype:
            raise LayerError(
                "wrong-dtype",
                f"`{name}` takes float32 or float64, and gets " + " and ".join(str(x) for x in inputs),
                help=f"{{op: cast, from: {{input{position}}}, dtype: float32}} gives others",
                inputs=(position,),
            )
        if x.shape != inputs[0].shape:
            message = f"`{name}` takes real and imaginary parts of one shape, and gets {inputs[0]} and {x}"
            raise LayerError("shapes-differ", message, inputs=(0, position))
        if x.rank <= axes:
            message = f"`{name}` takes {axes + 1} axes or more, with the batch, and gets {x}"
            raise LayerError("wrong-rank", message, inputs=(position,))


class _Complex(Operation, abstract=True):
    """A function from one complex signal to another."""

    extra_outputs = ("imag",)
    flops_per_input = 5
    arguments = (Argument("real"), Argument("imag"))
    axes: ClassVar[int] = 1
    examples = (Example({}, ((3, 4), (3, 4))),)

    def infer(self, real: Tensor, imag: Tensor) -> tuple[Tensor, ...]:
        _need_signals(self.spec_name, real, imag, axes=self.axes)
        return real, real

    def code(self, site: Site) -> Code:
        signal = f"torch.fft.{self.spec_name}(torch.complex({{real}}, {{imag}}))"
        return Code(f"torch.view_as_real({signal}).unbind(-1)")


class Fft(_Complex, spec_name="fft"):
    """The Fourier transform of a complex signal along the last axis; `imag` is the imaginary part."""


class Fft2(_Complex, spec_name="fft2"):
    """The Fourier transform of complex signals along the last two axes; `imag` is the imaginary part."""

    axes = 2


class Ifft2(_Complex, spec_name="ifft2"):
    """The inverse of `fft2`; `imag` is the imaginary part."""

    axes = 2


class Rfft(Operation, spec_name="rfft"):
    """The Fourier transform of a real signal along the last axis, cropped or zero-padded to `fft_length`.

    It has the frequencies up to half of `fft_length`; `imag` is the imaginary part.
    """

    extra_outputs = ("imag",)
    template = "torch.view_as_real(torch.fft.rfft({x}, n={fft_length})).unbind(-1)"
    optional = ("fft_length",)
    flops_per_input = 5

    fft_length: Positive | None = None

    examples = (Example({}, ((3, 8),)),)

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        _need_signals(self.spec_name, x)
        length: Dim = x.shape[-1] if self.fft_length is None else self.fft_length
        return (x.with_shape(*x.shape[:-1], length // 2 + 1),) * 2


class Irfft(Operation, spec_name="irfft"):
    """The inverse of `rfft`: the real signal along the last axis, by default of even `fft_length`."""

    template = "torch.fft.irfft(torch.complex({real}, {imag}), n={fft_length})"
    optional = ("fft_length",)
    flops_per_output = 5
    arguments = (Argument("real"), Argument("imag"))

    fft_length: Positive | None = None

    examples = (Example({}, ((3, 5), (3, 5))),)

    def infer(self, real: Tensor, imag: Tensor) -> Tensor:
        _need_signals(self.spec_name, real, imag)
        if self.fft_length is None and real.shape[-1] == 1:
            message = f"`irfft` needs more than one frequency, and {real} has one"
            raise LayerError("out-of-range", message, help="say `fft_length`", argument="fft_length")
        length: Dim = (real.shape[-1] - 1) * 2 if self.fft_length is None else self.fft_length
        return real.with_shape(*real.shape[:-1], length)


class Stft(Operation, spec_name="stft"):
    """The short-time Fourier transform of signals: `[batch, frames, frequencies]`.

    A window of `sequence_length` samples starts every `sequence_stride` samples, centered within
    `fft_length`. `center` pads the signal at both ends by reflection. `imag` is the imaginary part.
    """

    extra_outputs = ("imag",)
    flops_per_output = 10

    sequence_length: Positive
    sequence_stride: Positive
    fft_length: Positive
    window: Literal["hann", "hamming"] | None = "hann"
    center: bool = True
    """Whether frame `t` is centered at `t * sequence_stride`."""

    examples = (Example({"sequence_length": 6, "sequence_stride": 3, "fft_length": 8}, ((20,),)),)

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        _need_signals(self.spec_name, x)
        if x.rank != 2:
            raise LayerError("wrong-rank", f"`stft` takes `[batch, samples]`, and gets {x}", inputs=(0,))
        if self.fft_length < self.sequence_length:
            message = f"`fft_length` must be at least `sequence_length`, {self.sequence_length}"
            raise LayerError("out-of-range", message, argument="fft_length")
        samples = x.shape[1]
        least = self.fft_length // 2 + 1 if self.center else self.fft_length
        if isinstance(samples, int) and samples < least:
            message = f"`stft` with this `fft_length` takes {least} samples or more, and {x} has {samples}"
            raise LayerError("window-too-large", message, argument="fft_length", inputs=(0,))
        # the padding adds an even number of samples
        span = samples + self.fft_length // 2 * 2 if self.center else samples
        frames = (span - self.fft_length) // self.sequence_stride + 1
        return (x.with_shape(x.shape[0], frames, self.fft_length // 2 + 1),) * 2

    def shortest(self, x: Tensor) -> tuple[tuple[Dim, int], ...]:
        return ((x.shape[1], self.fft_length // 2 + 1),) if self.center else ()

    def code(self, site: Site) -> Code:
        window = {"hann": "hann_window", "hamming": "hamming_window", None: "ones"}[self.window]
        constants: dict[str, Leaf] = {
            "width": self.fft_length,
            "stride": self.sequence_stride,
            "length": self.sequence_length,
            "window": Ref(f"torch.{window}"),
        }
        center = "" if self.center else ", center=False"
        text = f"sliding_fft({{x}}, {{width}}, {{stride}}, {{length}}, {{window}}{center})"
        return Code(text, constants=constants)


class Istft(Operation, spec_name="istft"):
    """The inverse of `stft`: signals `[batch, samples]`; `length` crops them, or fills them with zeros.

    Where windows are narrower than `fft_length`, or `center` is false, both ends of a signal are too
    small, as in Keras. Without a `window` the frames are added where they overlap.
    """

    flops_per_input = 10
    arguments = (Argument("real"), Argument("imag"))

    sequence_length: Positive
    sequence_stride: Positive
    fft_length: Positive
    length: Positive | None = None
    """Number of samples of the output; the rest is cut off."""
    window: Literal["hann", "hamming"] | None = "hann"
    center: bool = True
    """Whether frame `t` is centered at `t * sequence_stride`."""

    examples = (Example({"sequence_length": 8, "sequence_stride": 4, "fft_length": 8}, ((6, 5), (6, 5))),)

    def infer(self, real: Tensor, imag: Tensor) -> Tensor:
        _need_signals(self.spec_name, real, imag)
        bins = self.fft_length // 2 + 1
        if real.rank != 3 or real.shape[2] != bins:
            message = f"`istft` takes [batch, frames, {bins}] here, and gets {real}"
            raise LayerError("shapes-differ", message, argument="fft_length", inputs=(0,))
        self._need_windows()
        samples: Dim = self.sequence_stride * (real.shape[1] - 1)
        if not self.center:
            samples = samples + self.fft_length
        elif self.fft_length % 2 and not self.usual:
            samples = samples + 1
        return real.with_shape(real.shape[0], self.length or samples)

    @property
    def usual(self) -> bool:
        """Whether torch.istft does the same; Keras weighs the ends of other signals like their middle."""
        return self.center and self.window is not None and self.sequence_length == self.fft_length

    def _need_windows(self) -> None:
        """Refuses windows that do not cover the signal."""
        if self.sequence_length > self.fft_length:
            message = f"`fft_length` must be at least `sequence_length`, {self.sequence_length}"
            raise LayerError("out-of-range", message, argument="fft_length")
        power = [0.0] * self.sequence_stride
        base = {"hann": 0.5, "hamming": 0.54, None: 1.0}[self.window]
        for place in range(self.sequence_length):
            weight = base - (1 - base) * math.cos(2 * math.pi * place / self.sequence_length)
            power[place % self.sequence_stride] += weight**2
        if min(power) < 1e-11:
            message = f"windows of {self.sequence_length} samples, {self.sequence_stride} apart, leave gaps"
            help = f"write `sequence_stride: {max(self.sequence_length // 2, 1)}` or less"
            raise LayerError("out-of-range", message, help=help, argument="sequence_stride")

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {
            "width": self.fft_length,
            "stride": self.sequence_stride,
        }
        if self.window is not None:
            constants["window"] = Ref(f"torch.{self.window}_window")
        length = ""
        if self.length is not None:
            length, constants["length"] = ", length={length}", self.length
        if not self.usual:
            window = ""
            if self.window is not None:
                window, constants["size"] = ", {window}, {size}", self.sequence_length
            center = "" if self.center else ", center=False"
            text = f"overlapped({{real}}, {{imag}}, {{width}}, {{stride}}{window}{length}{center})"
            return Code(text, constants=constants)
        text = f"joined_windows({{real}}, {{imag}}, {{width}}, {{stride}}, {{window}}{length})"
        return Code(text, constants=constants)
