"""Further examples of `graphspec/layers/spectrograms.py`."""

from graphspec.contract.layer import Example

MORE = {
    "MelSpectrogram": (
        Example(
            {
                "fft_length": 64,
                "sequence_stride": 20,
                "sequence_length": 48,
                "window": "hamming",
                "sampling_rate": 8000,
                "num_mel_bins": 6,
                "min_freq": 100.0,
                "max_freq": 3000.0,
                "power_to_db": False,
                "mag_exp": 1.5,
            },
            ((150,),),
        ),
        Example(
            {
                "fft_length": 32,
                "sequence_stride": 8,
                "num_mel_bins": 4,
                "min_power": 1e-3,
                "ref_power": 0.5,
                "power_to_db": True,
            },
            ((100,),),
        ),
    ),
    "STFTSpectrogram": (
        Example({"mode": "psd", "frame_length": 6, "frame_step": 4, "window": "hamming"}, ((20, 1),)),
        Example({"mode": "stft", "frame_length": 8, "fft_length": 16, "expand_dims": True}, ((20, 2),)),
        Example({"mode": "real", "frame_length": 8, "periodic": True, "padding": "same"}, ((21, 2),)),
        Example({"mode": "imag", "frame_length": 5, "scaling": "spectrum", "window": "blackman"}, ((20, 1),)),
        Example(
            {"mode": "angle", "frame_length": 8, "window": None, "data_format": "channels_first"},
            ((2, 20),),
        ),
        Example(
            {
                "mode": "magnitude",
                "frame_length": 8,
                "scaling": None,
                "expand_dims": True,
                "window": "bartlett",
            },
            ((20, 2),),
        ),
    ),
}
