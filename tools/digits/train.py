# SPDX-License-Identifier: Apache-2.0
"""Train the digits network and write its weights to `weights.npz`.

    python tools/digits/train.py

Needs torch and scikit-learn; takes under a minute on one core. The weights are kept in
the repository, so that every encoding is written from the same numbers without torch.
They are the float32 arrays below, in torch's layouts (weights are [out, in, ...]):

    conv1.weight [12, 1, 3, 3]     conv1.bias [12]    3x3, padding 1, ReLU, max pool 2x2
    conv2.weight [32, 12, 3, 3]    conv2.bias [32]    3x3, padding 1, ReLU, max pool 2x2
    linear.weight [10, 128]        linear.bias [10]   on [32, 2, 2] flattened in that order
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch  # type: ignore[import-not-found,unused-ignore]
from dataset import SEED, load_split
from torch import Tensor, nn  # type: ignore[import-not-found,unused-ignore]
from torch.nn import functional  # type: ignore[import-not-found,unused-ignore]

WEIGHTS = Path(__file__).with_name("weights.npz")
EPOCHS = 80
BATCH = 64

# One pass of this over a picture is about what upscaling and resizing back does to it.
BLUR = torch.tensor([[1.0, 6.0, 1.0], [6.0, 36.0, 6.0], [1.0, 6.0, 1.0]]) / 64.0


def network() -> nn.Sequential:
    """Return the untrained network: [N, 1, 8, 8] to logits [N, 10]."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(1, 12, 3, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(12, 32, 3, padding=1),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        linear=nn.Linear(32 * 2 * 2, 10),
    )
    return nn.Sequential(layers)


def augment(images: Tensor) -> Tensor:
    """Return the images [N, 1, 8, 8] shifted, blurred and brightened a little.

    Each is moved by a pixel in three cases of ten, blurred by a random amount, and its
    intensity scaled by 0.8 to 1.2, so that the network bears pictures that come from
    a file and a resize rather than from the data set.
    """
    count = len(images)
    padded = functional.pad(images, (1, 1, 1, 1))
    moved = torch.rand(count) < 0.3
    corners = torch.where(moved[:, None], torch.randint(0, 3, (count, 2)), 1)
    shifted = torch.stack(
        [
            picture[:, row : row + 8, column : column + 8]
            for picture, (row, column) in zip(padded, corners.tolist(), strict=True)
        ]
    )
    blurred = functional.conv2d(shifted, BLUR[None, None], padding=1)
    amount = torch.rand(count, 1, 1, 1)
    gain = 0.8 + 0.4 * torch.rand(count, 1, 1, 1)
    noise = 0.02 * torch.randn(shifted.shape)
    mixed = shifted + amount * (blurred - shifted)
    return (mixed * gain + noise).clamp(0.0, 1.0)


def train(images: Tensor, labels: Tensor) -> nn.Sequential:
    """Return a network trained on images [N, 1, 8, 8] and labels [N], the same always."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # more threads add floats in another order
    model = network()
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            # Smoothing keeps probabilities off 1.0, where backends could not be told apart.
            logits = model(augment(images[rows]))
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=0.03)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(model: nn.Sequential, images: Tensor, labels: Tensor) -> float:
    """Return the share of the images [N, 1, 8, 8] whose largest logit is the label's."""
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def main() -> None:
    """Train, print the accuracy on both parts of the data, and write the weights."""
    seen, held_out = load_split()
    images, labels = torch.from_numpy(seen.images), torch.from_numpy(seen.labels)
    model = train(images, labels)
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    np.savez(WEIGHTS, **arrays)
    unseen = torch.from_numpy(held_out.images), torch.from_numpy(held_out.labels)
    print(f"parameters         {sum(array.size for array in arrays.values())}")
    print(f"accuracy, trained  {accuracy(model, images, labels):.4f}")
    print(f"accuracy, held out {accuracy(model, *unseen):.4f}")


if __name__ == "__main__":
    main()
