# SPDX-License-Identifier: Apache-2.0
"""The handwritten digits that the network is trained and tested on.

1797 pictures of 8x8 pixels from scikit-learn (UCI ML hand-written digits, CC BY 4.0),
a white digit on black. They are split once, here, so that training and the choice of
the shipped pictures agree on which digits the network has never seen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]

SEED = 20
HELD_OUT = 360


@dataclass(frozen=True)
class Digits:
    """Some of the digits.

    images: float32 [N, 1, 8, 8], 0 (black) to 1 (white).
    labels: int64 [N], 0 to 9.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def load_split() -> tuple[Digits, Digits]:
    """Return the 1437 digits to train on and the 360 held out, always the same."""
    bunch = load_digits()
    # The data set counts ink in each of 64 blocks of 4x4 pixels: 0 to 16.
    images = (bunch.images / 16.0).astype(np.float32)[:, np.newaxis]
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(labels))
    test, train = order[:HELD_OUT], order[HELD_OUT:]
    return Digits(images[train], labels[train]), Digits(images[test], labels[test])
