# SPDX-License-Identifier: Apache-2.0
"""One network in the encoding of each runtime, translated from its ONNX model with the same weights."""
