"""Further examples of `graphspec/layers/einsum.py`."""

from graphspec.contract.layer import Example

MORE = {
    "EinsumDense": (
        Example({"equation": "abc,cd->abd", "output_shape": [None, 5], "bias_axes": "d"}, ((3, 7),)),
        Example({"equation": "abc,cde->abde", "output_shape": [None, 2, 5], "bias_axes": "de"}, ((3, 40),)),
        Example({"equation": "abde,dec->abc", "output_shape": [None, 6], "bias_axes": "c"}, ((3, 8, 5),)),
        Example({"equation": "...x,xy->...y", "output_shape": 4, "activation": "relu"}, ((2, 3, 5),)),
        Example({"equation": "...x,xyz->...yz", "output_shape": [4, 2], "bias_axes": "y"}, ((3, 5),)),
        Example({"equation": "ab...,bc->ac...", "output_shape": 6, "bias_axes": "c"}, ((5, 2, 3),)),
        Example(
            {
                "equation": "abc,dbc->abd",
                "output_shape": [3, 50],
                "kernel_initializer": "he_normal",
                "bias_axes": "d",
                "bias_initializer": "ones",
            },
            ((3, 7),),
        ),
        Example(
            {
                "equation": "abc,cd->abd",
                "output_shape": [None, 30],
                "kernel_initializer": "orthogonal",
            },
            ((3, 20),),
        ),
    ),
}
