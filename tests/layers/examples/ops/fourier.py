"""Further examples of `graphspec/ops/fourier.py`."""

from graphspec.contract.layer import Example

MORE = {
    "_Complex": (Example({}, ((2, 3, 5), (2, 3, 5))),),
    "Rfft": (
        Example({"fft_length": 5}, ((2, 3, 8),)),
        Example({"fft_length": 8}, ((5,),)),
    ),
    "Irfft": (Example({"fft_length": 7}, ((2, 4), (2, 4))),),
    "Stft": (
        Example(
            {
                "sequence_length": 8,
                "sequence_stride": 4,
                "fft_length": 8,
                "window": "hamming",
                "center": False,
            },
            ((21,),),
        ),
        Example({"sequence_length": 5, "sequence_stride": 2, "fft_length": 7, "window": None}, ((16,),)),
    ),
    "Istft": (
        Example(
            {
                "sequence_length": 8,
                "sequence_stride": 3,
                "fft_length": 8,
                "window": "hamming",
                "length": 11,
                "center": True,
            },
            ((5, 5), (5, 5)),
        ),
        Example({"sequence_stride": 3, "sequence_length": 6, "fft_length": 8}, ((6, 5), (6, 5))),
        Example(
            {"sequence_stride": 3, "sequence_length": 8, "fft_length": 8, "center": False}, ((6, 5), (6, 5))
        ),
        Example(
            {"sequence_stride": 3, "sequence_length": 5, "fft_length": 7, "window": "hamming", "length": 12},
            ((6, 4), (6, 4)),
        ),
        Example(
            {"sequence_stride": 3, "sequence_length": 8, "fft_length": 8, "window": None}, ((6, 5), (6, 5))
        ),
        Example(
            {
                "sequence_stride": 3,
                "sequence_length": 6,
                "fft_length": 7,
                "center": False,
                "window": None,
                "length": 9,
            },
            ((6, 4), (6, 4)),
        ),
    ),
}
