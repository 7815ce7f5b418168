"""Quantiles of keras.ops in percent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphspec.contract.fields import Finite
from graphspec.contract.layer import Code, Example, Site
from graphspec.ops.reductions import Quantile


class Percentile(Quantile, spec_name="percentile"):
    """What `q` percent of all along an axis are at most; `method` says what to take between two of them."""

    q: Annotated[Finite, Field(ge=0, le=100)]

    examples = (
        Example({"axis": 1, "q": 30}, ((3, 4),)),
        Example({"axis": -1, "q": 12.5, "keepdims": True, "method": "lower"}, ((3, 4),)),
        Example({"axis": 1, "q": 100}, ((3,),), dtype="int32", high=9),
    )

    def code(self, site: Site) -> Code:
        code = super().code(site)
        return Code(code.call, constants={**code.constants, "q": self.q / 100})


class Nanpercentile(Percentile, spec_name="nanpercentile"):
    """What `q` percent along an axis are at most, of all that are not NaN."""

    def code(self, site: Site) -> Code:
        code = super().code(site)
        return Code(code.call.replace(".quantile(", ".nanquantile("), constants=code.constants)
