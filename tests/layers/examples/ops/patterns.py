"""Further examples of `graphspec/ops/patterns.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Rearrange": (
        Example({"pattern": "b h w c -> b (c h w)"}, ((2, 3, 4),)),
        Example({"pattern": "b h w c -> b h w c"}, ((2, 3, 4),)),
        Example(
            {"pattern": "b (h p) (w q) c -> b h w (c p q)", "axes_lengths": {"p": 2, "q": 3}}, ((4, 6, 2),)
        ),
        Example({"pattern": "b t (n d) -> b n t d", "axes_lengths": {"n": 2}}, ((3, 8),)),
        Example({"pattern": "batch (x y) -> batch y x", "axes_lengths": {"x": 2, "y": 3}}, ((6,),)),
    ),
}
