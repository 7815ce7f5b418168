"""Matrix decompositions of keras.ops along the last two axes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from graphspec.contract.fields import Finite
from graphspec.contract.layer import Code, Example, LayerError, Leaf, Site
from graphspec.ops.matrices import Det, Inv, MatrixFunction, Solve, need_floats, need_matrices
from graphspec.tensor import Dim, Tensor


class _Factors(MatrixFunction, abstract=True):
    """A decomposition of matrices of any height and width."""

    square = False

    def shorter(self, x: Tensor) -> Dim:
        """The smaller of height and width. Raises `LayerError` where it is unknown."""
        rows, columns = x.shape[-2:]
        if rows == columns:
            return rows
        if not isinstance(rows, int) or not isinstance(columns, int):
            message = f"`{self.spec_name}` needs to know the last two sizes of {x}"
            raise LayerError("unknown-size", message, inputs=(0,))
        return min(rows, columns)


class Cholesky(Inv, spec_name="cholesky"):
    """The triangular factor `l` of symmetric, positive definite `l @ l.T`; `upper` gives its transpose."""

    template = "torch.linalg.cholesky({x}, upper={upper})"
    optional = ("upper",)

    upper: bool = False
    """Whether the upper triangle is meant."""

    examples = (Example({}, ((3, 3),), definite=True),)


class CholeskyInverse(Cholesky, spec_name="cholesky_inverse"):
    """The inverse of `x @ x.T`, where `x` is the result of `cholesky`."""

    template = "{x}.cholesky_inverse(upper={upper})"


class Logdet(Det, spec_name="logdet"):
    """The logarithm of the determinant of positive definite matrices."""

    template = "{x}.logdet()"
    examples = (Example({}, ((3, 3),), definite=True),)


class Slogdet(MatrixFunction, spec_name="slogdet"):
    """The sign of the determinant of square matrices; `logabsdet` is the logarithm of its absolute value."""

    extra_outputs = ("logabsdet",)
    template = "torch.linalg.slogdet({x})"
    examples = (Example({}, ((3, 3),)),)

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        super().infer(x)
        return (x.with_shape(*x.shape[:-2]),) * 2


class Eigh(MatrixFunction, spec_name="eigh"):
    """The eigenvalues of symmetric matrices, ascending; the columns of `vectors` are the eigenvectors.

    The signs of the eigenvectors may differ between machines. Only the lower triangle is read.
    """

    extra_outputs = ("vectors",)
    template = "torch.linalg.eigh({x})"
    work = 9
    examples = (Example({}, ((3, 3),), definite=True),)

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        super().infer(x)
        return x.with_shape(*x.shape[:-1]), x


class Qr(_Factors, spec_name="qr"):
    """The QR decomposition `q @ r`: `q` orthonormal, `r` upper triangular. `complete` gives a square `q`."""

    extra_outputs = ("r",)
    template = "torch.linalg.qr({x}, mode={mode})"
    optional = ("mode",)

    mode: Literal["reduced", "complete"] = "reduced"
    """Whether the factors are `reduced` or `complete`."""

    examples = (Example({}, ((4, 3),)),)

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        super().infer(x)
        before, (rows, columns) = x.shape[:-2], x.shape[-2:]
        inner = rows if self.mode == "complete" else self.shorter(x)
        return x.with_shape(*before, rows, inner), x.with_shape(*before, inner, columns)


class Svd(_Factors, spec_name="svd"):
    """The singular value decomposition `u @ diag(s) @ vh`. The node is `u`; `s` is in descending order.

    The signs of the vectors may differ between machines. Without `compute_uv` the node is the singular values
    alone.
    """

    full_matrices: bool = True
    """Whether the matrices are square."""
    compute_uv: bool = True
    """Whether the vectors are returned as well."""

    examples = (Example({}, ((3, 3),)),)

    def infer(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        super().infer(x)
        before, (rows, columns), inner = x.shape[:-2], x.shape[-2:], self.shorter(x)
        values = x.with_shape(*before, inner)
        if not self.compute_uv:
            return values
        left, right = (rows, columns) if self.full_matrices else (inner, inner)
        return x.with_shape(*before, rows, left), values, x.with_shape(*before, right, columns)

    def output_names(self) -> tuple[str, ...]:
        return ("s", "vh") if self.compute_uv else ()

    def code(self, site: Site) -> Code:
        if not self.compute_uv:
            return Code("torch.linalg.svdvals({x})")
        return Code("torch.linalg.svd({x}" + (")" if self.full_matrices else ", full_matrices=False)"))


class Pinv(_Factors, spec_name="pinv"):
    """The pseudoinverse of matrices. Singular values below `rcond` times the largest count as 0."""

    template = "torch.linalg.pinv({x}, rtol={rcond})"
    optional = ("rcond",)

    rcond: Annotated[Finite, Field(ge=0)] | None = None

    examples = (Example({}, ((4, 3),)),)

    def infer(self, x: Tensor) -> Tensor:
        super().infer(x)
        return x.with_shape(*x.shape[:-2], x.shape[-1], x.shape[-2])


class MatrixRank(_Factors, spec_name="matrix_rank"):
    """The number of singular values above `tol`, as int64. By default `tol` is the rounding error."""

    template = "torch.linalg.matrix_rank({x}, atol={tol})"
    optional = ("tol",)

    tol: Annotated[Finite, Field(ge=0)] | None = None
    """Below this, a singular value counts as 0."""

    examples = (Example({}, ((4, 3),)),)

    def infer(self, x: Tensor) -> Tensor:
        super().infer(x)
        return Tensor(x.shape[:-2], "int64")


class SolveTriangular(Solve, spec_name="solve_triangular"):
    """The solution `x` of `a @ x = b`, where `a` is upper triangular, or lower triangular with `lower`."""

    lower: bool = False
    """Whether the lower triangle is meant."""

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"upper": not self.lower}
        return Code("torch.linalg.solve_triangular({a}, {b}, upper={upper})", constants=constants)


class Lstsq(Solve, spec_name="lstsq"):
    """The least-squares solution `x` of `a @ x = b`, for matrices along the last two axes.

    Singular values below `rcond` times the largest count as 0.
    """

    rcond: Annotated[Finite, Field(ge=0)] | None = None

    examples = (Example({}, ((5, 3), (5, 2))),)

    def infer(self, a: Tensor, b: Tensor) -> Tensor:
        need_floats(self.spec_name, a, b)
        need_matrices(self.spec_name, a)
        need_matrices(self.spec_name, b, position=1)
        if a.shape[:-1] != b.shape[:-1]:
            message = f"`lstsq` needs as many rows in {{input1}}, {b}, as in {{input0}}, {a}"
            raise LayerError("shapes-differ", message, inputs=(0, 1))
        return b.with_shape(*b.shape[:-2], a.shape[-1], b.shape[-1])

    def code(self, site: Site) -> Code:
        if self.rcond is None:
            return Code("torch.linalg.lstsq({a}, {b}).solution")
        return Code("torch.linalg.pinv({a}, rtol={rcond}) @ {b}", constants={"rcond": self.rcond})


class Eig(MatrixFunction, spec_name="eig"):
    """The eigenvalues of square matrices: the node is the real part, `imag` the imaginary part.

    There is no gradient through the eigenvectors. For symmetric matrices, use `eigh`.
    """

    extra_outputs = ("imag",)
    template = "torch.view_as_real(torch.linalg.eigvals({x})).unbind(-1)"
    examples = (Example({}, ((3, 3),)),)
    work = 9

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        super().infer(x)
        return (x.with_shape(*x.shape[:-1]),) * 2


class LuFactor(MatrixFunction, spec_name="lu_factor"):
    """The LU factors of square matrices, in one matrix: below and above the diagonal.

    `pivots`, int32, has the row that each row was swapped with.
    """

    extra_outputs = ("pivots",)
    template = "lu_factor({x})"
    examples = (Example({}, ((3, 3),)),)
    work = 1

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        super().infer(x)
        return x, Tensor(x.shape[:-1], "int32")
