# SPDX-License-Identifier: Apache-2.0
"""Causes in words, and what cures them: a line of a contract, or a change of the guest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wasinn.agreement.hypotheses import Assumption, Hypothesis
from wasinn.agreement.search import applied
from wasinn.contracts.contract import Contract, ImageContract
from wasinn.tensors import format_dims

#: What each cause is called.
CAUSES = {
    "layout": "the layout",
    "colour": "the colour order",
    "range": "the range of the numbers",
    "mean and std": "mean and standard deviation",
    "resize": "the resize filter",
    "fit": "how the picture is fitted into the size",
    "type": "the type of the numbers",
    "quantization": "the quantization",
    "batch": "the batch dimension",
    "dims": "the dims",
    "kind": "softmax",
    "label_offset": "the label offset",
    "transposed": "height and width",
    "invert": "dark and light",
}


def title(changes: Sequence[Hypothesis]) -> str:
    """`the colour order, and the range of the numbers`."""
    words = []
    for change in changes:
        word = CAUSES.get(change.key, change.key)
        if word not in words:
            words.append(word)
    return ", and ".join(words) if len(words) < 3 else ", ".join(words[:-1]) + ", and " + words[-1]


def graph_cause(name: str, change: Hypothesis, base: Assumption) -> str:
    """What is wrong with how a graph was sent its picture, or read, in a sentence."""
    image = base.input.image
    assert image is not None
    sentences = {
        "layout": f"{name} takes {change.value}, and was sent {image.layout}",
        "colour": f"{name} takes {change.value}, and was sent {image.colour}",
        "range": f"{name} takes {change.value}, and was sent {image.range[0]:g}..{image.range[1]:g}",
        "mean and std": f"{name} takes {change.value}, and was sent {_set(image)}",
        "resize": f"{name} answers alike with {change.value}, and the picture got {_filter(image)}",
        "fit": f"{name} answers alike with {change.value}, and the picture was fitted by {image.fit}",
        "batch": f"{name} takes a batch dimension ({change.value}), and its contract has {image.layout}",
        "kind": f"the output of {name} is {change.value}, and was read as {base.output.kind}",
        "label_offset": f"class i of {name} is line i{_signed(change.value)} of the labels, and was read as "
        f"line i{_signed(str(base.output.label_offset))}",
        "invert": f"{name} takes {change.value}",
    }
    if change.slip is not None:
        return f"{name} answers alike when it is sent {change.value}"
    return sentences.get(change.key, f"{name} takes {change.value}")


def guest_cause(change: Hypothesis, base: Assumption) -> str:
    """What a guest did in the place of what the contract asks for."""
    image = base.input.image
    assert image is not None
    wanted = {
        "layout": f"the guest sent {change.value}; the model takes {image.layout}",
        "colour": f"the guest sent {change.value}; the model takes {image.colour}",
        "range": f"the guest sent {change.value}; the model takes {image.range[0]:g}..{image.range[1]:g}",
        "mean and std": f"the guest sent numbers with {change.value}; the model takes {_set(image)}",
        "resize": f"the guest resized by {change.value}; the contract says {_filter(image)}",
        "fit": f"the guest fitted the picture by {change.value}; the contract says {image.fit}",
        "batch": "the guest's dims have no batch dimension (a leading 1)",
        "dims": f"the guest sent {change.value}; the model takes {format_dims(image.dims)}",
        "quantization": f"the guest's numbers are {change.value}",
        "invert": f"the guest sent {change.value}",
        "transposed": f"the guest sent {change.value}",
        "type": f"the guest sent {change.value}; the model takes {base.input.type.label}",
    }
    return wanted.get(change.key, f"the guest sent {change.value}")


_GUEST_CURES = {
    "layout": "order the numbers as {layout} ({order})",
    "colour": "swap the first and the third channel",
    "range": "scale each level p, 0 to 255, to {formula}",
    "mean and std": "after that, (value - mean) / std with mean {mean} and std {std}, in the order {colour}",
    "resize": "resize by {resize}",
    "fit": "bring the picture to the size by {fit}",
    "batch": "pass the dims {dims}",
    "dims": "pass the dims {dims}; the numbers themselves are looked at as if they were so",
    "quantization": "quantize exactly once: value / scale + zero point, rounded",
    "invert": "turn the levels p into 255 - p, or leave them, as the contract's `invert` says",
    "transposed": "rows first: height {height}, width {width}",
    "type": "pass the numbers as {type}, and do not cut them to whole ones before they are scaled",
}


def guest_cure(change: Hypothesis, base: Assumption) -> str:
    """What a guest's author has to change."""
    image = base.input.image
    assert image is not None
    planes = image.layout.lstrip("N").startswith("C")
    return _GUEST_CURES[change.key].format(
        layout=image.layout,
        order="all of one channel, then all of the next" if planes else "all channels of a pixel together",
        formula=_formula(*image.range),
        mean=_numbers(image.mean),
        std=_numbers(image.std),
        colour=image.colour,
        resize=_filter(image),
        fit=image.fit,
        dims=format_dims(image.dims),
        height=image.size[0],
        width=image.size[1],
        type=base.input.type.label,
    )


def contract_lines(changes: Sequence[Hypothesis], base: Assumption) -> list[str]:
    """The lines of a contract that say what the changes say, with their tables."""
    lines: list[str] = []
    for side, name in (("input", base.input.name), ("output", base.output.name)):
        found = [line for change in changes if change.side == side for line in change.lines]
        if found:
            lines += [f"[{side}.{name}]", *found]
    return lines


def cured(contract: Contract, base: Assumption, changes: Sequence[Hypothesis]) -> Contract:
    """The contract, with the changes."""
    after = applied(base, [change for change in changes if change.slip is None])
    inputs, outputs = dict(contract.inputs), dict(contract.outputs)
    if base.input.name in inputs:
        kept = inputs[base.input.name]
        quantization = after.input.quantization
        if quantization == base.input.quantization:
            quantization = kept.quantization
        inputs[base.input.name] = replace(after.input, port=kept.port, quantization=quantization)
    if base.output.name in outputs:
        kept_output = outputs[base.output.name]
        outputs[base.output.name] = replace(
            kept_output, kind=after.output.kind, label_offset=after.output.label_offset
        )
    return replace(contract, inputs=inputs, outputs=outputs)


def _formula(low: float, high: float) -> str:
    """What a level p becomes."""
    if (low, high) == (0.0, 255.0):
        return "p itself"
    scaled = "p / 255" if high - low == 1 else f"p * {high - low:g} / 255"
    return scaled if low == 0 else f"{scaled} {'-' if low < 0 else '+'} {abs(low):g}"


def _set(image: ImageContract) -> str:
    if not any(image.mean) and all(each == 1 for each in image.std):
        return "no mean and std"
    return f"mean {_numbers(image.mean)} and std {_numbers(image.std)}"


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"


def _filter(image: ImageContract) -> str:
    plain = image.antialias or image.resize in ("nearest", "area")
    return image.resize if plain else f"{image.resize} without antialiasing"


def _signed(offset: str) -> str:
    if offset == "0":
        return ""
    return f" + {offset}" if not offset.startswith("-") else f" - {offset[1:]}"
