"""Spectrograms of signals."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from graphspec.contract.fields import Finite, Positive
from graphspec.contract.input_checks import need_float, need_rank
from graphspec.contract.layer import Code, Example, Layer, LayerError, ModuleCall, Ref, Site, Weight
from graphspec.contract.windows import DataFormat, need_spatial, slide
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import float_of

NotNegative = Annotated[Finite, Field(ge=0)]
Above = Annotated[Finite, Field(gt=0)]


class MelSpectrogram(Layer):
    """Maps signals `[samples]` to `[num_mel_bins, frames]`: their power in frequency bands of the mel scale.

    With `power_to_db` (decibels), an example's values are at most `top_db` below its largest; in Keras, below
    the largest of the batch.
    """

    fft_length: Positive = 2048
    sequence_stride: Positive = 512
    sequence_length: Positive | None = None
    window: Literal["hann", "hamming"] = "hann"
    sampling_rate: Positive = 16000
    """Samples per second."""
    num_mel_bins: Positive = 128
    """Number of output bands."""
    min_freq: NotNegative = 20.0
    """Lowest frequency, in hertz."""
    max_freq: Above | None = None
    """Highest frequency, in hertz."""
    power_to_db: bool = True
    """Whether the output is in decibels."""
    top_db: NotNegative = 80.0
    """Dynamic range below the largest value, in decibels."""
    mag_exp: Above = 2.0
    """Power of the magnitudes: 2 is energy."""
    min_power: Above = 1e-10
    """Lower bound of the power."""
    ref_power: Above = 1.0
    """Power of 0 decibels."""

    halves = False
    examples = (
        Example({"fft_length": 64, "sequence_stride": 16, "num_mel_bins": 8, "top_db": 5.0}, ((200,),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        need_rank(x, 2, layer=self.spec_name, shape="[samples]")
        need_float(x, layer=self.spec_name)
        if self.sequence_length is not None and self.sequence_length > self.fft_length:
            message = f"`fft_length` must be at least `sequence_length`, {self.sequence_length}"
            raise LayerError("out-of-range", message, argument="fft_length")
        if self.min_freq >= self.highest:
            message = f"`min_freq` must be below the highest frequency, {self.highest:g}"
            raise LayerError("out-of-range", message, argument="min_freq")
        samples = x.shape[1]
        if isinstance(samples, int) and samples <= self.fft_length // 2:
            message = f"with this `fft_length` it takes more than {self.fft_length // 2} samples, not {x}"
            raise LayerError("window-too-large", message, argument="fft_length", inputs=(0,))
        frames = (samples + self.fft_length // 2 * 2 - self.fft_length) // self.sequence_stride + 1
        return x.with_shape(x.shape[0], self.num_mel_bins, frames)

    def shortest(self, x: Tensor) -> tuple[tuple[Dim, int], ...]:
        return ((x.shape[1], self.fft_length // 2 + 1),)

    @property
    def highest(self) -> float:
        """The upper end of the last band."""
        return self.max_freq or self.sampling_rate // 2

    def code(self, site: Site) -> Code:
        construct = ModuleCall(
            "MelSpectrogram",
            {"n_fft": self.fft_length, "hop_length": self.sequence_stride, "n_mels": self.num_mel_bins},
            {
                "win_length": (self.sequence_length, None),
                "window": (Ref(f"torch.{self.window}_window"), Ref("torch.hann_window")),
                "sampling_rate": (self.sampling_rate, 16000),
                "min_freq": (float_of(self.min_freq), 20.0),
                "max_freq": (self.max_freq, None),
                "decibels": (self.power_to_db, True),
                "top_db": (float_of(self.top_db), 80.0),
                "power": (float_of(self.mag_exp), 2.0),
                "min_power": (self.min_power, 1e-10),
                "ref_power": (float_of(self.ref_power), 1.0),
            },
        )
        return Code("{self}({x})", construct)

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * self.fft_length


class STFTSpectrogram(Layer):
    """Spectrograms of signals `[samples, channels]`, by convolutions with trainable kernels.

    The kernels start as the waves of the short-time Fourier transform. `mode: stft` returns the real and the
    imaginary parts, concatenated. `expand_dims: true` keeps a separate axis for the channels.
    """

    mode: Literal["log", "magnitude", "psd", "real", "imag", "angle", "stft"] = "log"
    """The result for each frequency: `log`, `magnitude`, `psd` and others."""
    frame_length: Annotated[int, Field(ge=2)] = 256
    """Samples of a frame."""
    frame_step: Positive | None = None
    """Samples from one frame to the next."""
    fft_length: Positive | None = None
    window: Literal["hann", "hamming", "blackman", "bartlett"] | None = "hann"
    periodic: bool = False
    """Whether the window is periodic."""
    scaling: Literal["density", "spectrum"] | None = "density"
    """The sum by which the window is divided."""
    padding: Literal["valid", "same"] = "valid"
    expand_dims: bool = False
    """Whether channels keep an axis of their own."""
    data_format: DataFormat = "channels_last"

    examples = (Example({"frame_length": 8}, ((30, 2),)),)

    @property
    def step(self) -> int:
        """The number of samples from one frame to the next."""
        return self.frame_step or self.frame_length // 2

    @property
    def length(self) -> int:
        """The length of the transform: by default a power of two."""
        return self.fft_length or 1 << (self.frame_length - 1).bit_length()

    @property
    def bins(self) -> int:
        """The number of frequencies."""
        return self.length // 2 + 1

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, 1, self.data_format, layer=self.spec_name)
        if self.step > self.frame_length:
            message = f"`frame_step` is at most `frame_length`, {self.frame_length}"
            raise LayerError("out-of-range", message, argument="frame_step")
        if self.length < self.frame_length:
            message = f"`fft_length` is at least `frame_length`, {self.frame_length}"
            raise LayerError("out-of-range", message, argument="fft_length")
        last = self.data_format == "channels_last"
        samples, channels = (x.shape[1], x.shape[2]) if last else (x.shape[2], x.shape[1])
        window, strides = (self.frame_length,), (self.step,)
        (frames,) = slide(
            x, (samples,), window, strides, self.padding, layer=self.spec_name, argument="frame_length"
        )
        bins = self.bins * (2 if self.mode == "stft" else 1)
        if self.expand_dims:
            return x.with_shape(x.shape[0], *((frames, bins, channels) if last else (channels, frames, bins)))
        return x.with_shape(x.shape[0], *((frames, bins * channels) if last else (bins * channels, frames)))

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        shape = (self.bins, 1, self.frame_length)
        names = [n for n, other in (("real_kernel", "imag"), ("imag_kernel", "real")) if self.mode != other]
        return tuple(Weight(name, shape, name, (2, 1, 0)) for name in names)

    def code(self, site: Site) -> Code:
        window = None if self.window is None else Ref(f"torch.{self.window}_window")
        construct = ModuleCall(
            "STFTSpectrogram",
            {"frame_length": self.frame_length, "stride": self.step, "n_fft": self.length},
            {
                "mode": (self.mode, "log"),
                "window": (window, Ref("torch.hann_window")),
                "periodic": (self.periodic, False),
                "scaling": (self.scaling, "density"),
                "padding": (self.padding, "valid"),
                "expand_dims": (self.expand_dims, False),
                "channels_last": (self.data_format == "channels_last", True),
            },
        )
        return Code("{self}({x})", construct)

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * self.frame_length * 4
