# SPDX-License-Identifier: Apache-2.0
"""Write the story model as GGUF, from `build/story.npz`.

    python -m tools.story.write_gguf [WEIGHTS [DIRECTORY]]

Needs gguf. Writes three files of one network, by default to `src/wasinn/shipped/models`:

    story_f32.gguf   weights as they were trained
    story_f16.gguf   matrices as f16
    story.gguf       matrices as q8_0: blocks of 32 bytes with a scale, a little over a quarter of f32

The same weights give the same bytes.
"""

import sys
from pathlib import Path

import numpy as np
from gguf import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    TokenType,
)
from gguf.quants import quantize  # type: ignore[import-not-found,import-untyped,unused-ignore]
from numpy.typing import NDArray
from tools.story.network import SHAPE, load_vocabulary
from tools.story.vocabulary import BEGIN, CONTROL, END, MESSAGE_END, Vocabulary, spelled

WEIGHTS = Path(__file__).parents[2] / "build" / "story.npz"
MODELS = Path(__file__).parents[2] / "src" / "wasinn" / "shipped" / "models"

FILES = {
    "story_f32.gguf": (LlamaFileType.ALL_F32, GGMLQuantizationType.F32),
    "story_f16.gguf": (LlamaFileType.MOSTLY_F16, GGMLQuantizationType.F16),
    "story.gguf": (LlamaFileType.MOSTLY_Q8_0, GGMLQuantizationType.Q8_0),
}

DESCRIPTION = (
    "A very small language model that knows one short text by heart: it continues the beginning of any of "
    "its sentences, and answers its questions."
)

#: ChatML, as llama.cpp knows it by its <|im_start|>.
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def load_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the weights by name. ValueError if they are not those of the network's shape."""
    with np.load(path) as archive:
        weights = {name: archive[name] for name in archive.files}
    wanted = SHAPE.weights()
    got = {name: weight.shape for name, weight in weights.items()}
    if got != wanted:
        wrong = sorted(name for name in got.keys() | wanted.keys() if got.get(name) != wanted.get(name))
        raise ValueError(f"{path}: not the weights of this network; train it again: {', '.join(wrong)}")
    return {name: weights[name] for name in wanted}


def add_description(writer: GGUFWriter, file_type: LlamaFileType) -> None:
    """Write what the model is, and the numbers of its network."""
    writer.add_name("story")
    writer.add_description(DESCRIPTION)
    writer.add_license("Apache-2.0")
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    writer.add_vocab_size(SHAPE.vocabulary)
    writer.add_context_length(SHAPE.context)
    writer.add_embedding_length(SHAPE.width)
    writer.add_block_count(SHAPE.layers)
    writer.add_feed_forward_length(SHAPE.hidden)
    writer.add_head_count(SHAPE.heads)
    writer.add_head_count_kv(SHAPE.key_heads)
    writer.add_layer_norm_rms_eps(SHAPE.epsilon)
    writer.add_rope_dimension_count(SHAPE.width // SHAPE.heads)
    writer.add_rope_freq_base(SHAPE.rope_base)


def add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    """Write the tokens, how text becomes them, and how messages become text."""
    controls = len(CONTROL)
    names = [*CONTROL, *(spelled(piece) for piece in vocabulary.pieces[controls:])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([name.encode() for name in names])
    writer.add_token_types([TokenType.CONTROL] * controls + [TokenType.NORMAL] * (len(names) - controls))
    writer.add_token_merges([f"{spelled(left)} {spelled(right)}" for left, right in vocabulary.merges])
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_eot_token_id(MESSAGE_END)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)


def write(
    path: Path,
    weights: dict[str, NDArray[np.float32]],
    vocabulary: Vocabulary,
    file_type: LlamaFileType,
    element: GGMLQuantizationType,
) -> None:
    """Write the model to `path`, its matrices as `element`; norms stay f32."""
    writer = GGUFWriter(path, "llama")
    add_description(writer, file_type)
    add_vocabulary(writer, vocabulary)
    for name, weight in weights.items():
        kind = element if weight.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(name, quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Write the files, and print their sizes."""
    weights = load_weights(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
    directory = Path(sys.argv[2]) if len(sys.argv) > 2 else MODELS
    vocabulary = load_vocabulary()
    for name, (file_type, element) in FILES.items():
        write(directory / name, weights, vocabulary, file_type, element)
        print(f"{name:15} {(directory / name).stat().st_size:7} bytes")


if __name__ == "__main__":
    main()
