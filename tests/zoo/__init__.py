# SPDX-License-Identifier: Apache-2.0
"""Small models for tests, made on the spot, the same ones in every encoding.

One module an encoding, named as the encoding is, each with the same functions. A function returns the
builders of a model, as `load` takes them, or None where the encoding has no such model:

    identity(tensor_type, dims)    y = x, bit for bit. dims: None for a dynamic dimension; dims=None for
                                   a port whose rank is not fixed; () for a scalar
    add(dims)                      f32: sum = a + b and difference = a - b, of that name and order
    mixed()                        pixels u8 [4], weights f32 [2], ids i64 [1] -> ids_out, pixels_out,
                                   weights_out (negated), in that order
    nonzero()                      x f32 [6] -> y i64: the indices of what is not 0, as many as there are
    halves(dims)                   f32: y = x / 2; for shapes with several dynamic dimensions
    slow(products)                 x f32 [256,256] -> y, after so many matrix products (2-5 ms each)

Inputs and outputs are called as above where the encoding has names.
"""

from __future__ import annotations

Builders = tuple[bytes, ...]
Dims = tuple[int | None, ...]
