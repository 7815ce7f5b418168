"""Further examples of `graphspec/ops/decompositions.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Cholesky": (
        Example({}, ((2, 4, 4),), definite=True),
        Example({"upper": True}, ((3, 3),), definite=True),
    ),
    **dict.fromkeys(("Logdet", "Eigh"), (Example({}, ((2, 4, 4),), definite=True),)),
    **dict.fromkeys(("Slogdet", "Eig", "LuFactor"), (Example({}, ((2, 4, 4),)),)),
    "Qr": (
        Example({}, ((2, 3, 3),)),
        Example({"mode": "complete"}, ((3, 3),)),
    ),
    "Svd": (
        Example({"full_matrices": False}, ((4, 3),)),
        Example({"full_matrices": False}, ((2, 3, 4),)),
        Example({"compute_uv": False}, ((3, 4),)),
    ),
    "Pinv": (Example({"rcond": 0.01}, ((2, 3, 4),)),),
    "MatrixRank": (Example({"tol": 1.0}, ((2, 3, 4),)),),
    "SolveTriangular": (Example({"lower": True}, ((2, 3, 3), (2, 3, 1))),),
    "Lstsq": (Example({"rcond": 1e-4}, ((2, 4, 3), (2, 4, 1))),),
}
