# SPDX-License-Identifier: Apache-2.0
"""Who may call the gRPC server, over TLS, and what the access log says of it."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import models
from grpc_serving import GrpcServing
from wasinn.errors import ConfigError
from wasinn.oip import grpc_messages as messages
from wasinn.serve.grpc_server import make_grpc_server
from wasinn.serve.settings import Settings

_X = np.ones((1, 4), np.float32).tobytes()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert.pem and key.pem, for localhost, and other.pem: another key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    new_key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=localhost",
    ]
    for key, cert in (("key.pem", "cert.pem"), ("other.pem", "other-cert.pem")):
        command = [program, "req", "-x509", *new_key, "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost"]
        subprocess.run(
            [*command, "-keyout", folder / key, "-out", folder / cert], check=True, capture_output=True
        )
    return folder


@pytest.fixture(scope="module")
def guarded(files: Path) -> Iterator[GrpcServing]:
    chosen = Settings(tokens=("sesame", "other"), tls_cert=files / "cert.pem", tls_key=files / "key.pem")
    with GrpcServing({"echo": models.identity()}, chosen) as running:
        yield running


@pytest.fixture(scope="module")
def channel(guarded: GrpcServing, files: Path) -> Iterator[grpc.Channel]:
    trusted = grpc.ssl_channel_credentials((files / "cert.pem").read_bytes())
    options = (("grpc.ssl_target_name_override", "localhost"),)
    with grpc.secure_channel(guarded.grpc_address, trusted, options) as opened:
        yield opened


def call(channel: grpc.Channel, name: str, request: Any = None, token: str | None = None) -> Any:
    method = messages.METHODS[name]
    metadata = [] if token is None else [("authorization", token)]
    unary = channel.unary_unary(messages.Method.path(name), None, method.response.FromString)
    return unary((request or method.request()).SerializeToString(), metadata=metadata, timeout=20)


def echo() -> Any:
    message = messages.ModelInferRequest(model_name="echo", id="seven")
    message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    message.raw_input_contents.append(_X)
    return message


@pytest.mark.parametrize("token", ["Bearer sesame", "bearer  other"])
def test_with_a_token(channel: grpc.Channel, token: str) -> None:
    assert call(channel, "ModelInfer", echo(), token).raw_output_contents[0] == _X
    assert len(call(channel, "RepositoryIndex", None, token).models) == 1


@pytest.mark.parametrize("token", [None, "Bearer wrong", "sesame", "Basic sesame"])
def test_without_one(channel: grpc.Channel, token: str | None) -> None:
    for name in sorted(set(messages.METHODS) - {"ServerLive", "ServerReady", "ModelStreamInfer"}):
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, name, None, token)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, name
        assert "Bearer TOKEN" in caught.value.details() or "token" in caught.value.details()
    metadata = [] if token is None else [("authorization", token)]
    stream = channel.stream_stream(messages.Method.path("ModelStreamInfer"))
    with pytest.raises(grpc.RpcError) as caught:
        list(stream(iter([echo().SerializeToString()]), metadata=metadata, timeout=20))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_probes_need_none(channel: grpc.Channel) -> None:
    assert call(channel, "ServerLive").live
    assert call(channel, "ServerReady").ready
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10) == b"\x08\x01"


def test_without_tls_there_is_no_answer(guarded: GrpcServing) -> None:
    with grpc.insecure_channel(guarded.grpc_address) as plain, pytest.raises(grpc.RpcError) as caught:
        call(plain, "ServerLive")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("cert.pem", None, "both tls_cert and tls_key"),
        (None, "key.pem", "both tls_cert and tls_key"),
        ("cert.pem", "other.pem", "not a certificate"),
        ("key.pem", "cert.pem", "not a certificate"),
        ("cert.pem", "nothing.pem", "nothing.pem"),
    ],
)
def test_files_that_do_not_do(
    guarded: GrpcServing, files: Path, cert: str | None, key: str | None, words: str
) -> None:
    chosen = replace(guarded.settings, tls_cert=cert and files / cert, tls_key=key and files / key)

    async def make() -> Any:
        return make_grpc_server(guarded.frontend, chosen, "127.0.0.1:0")

    with pytest.raises(ConfigError, match=re.escape(words)):
        guarded.wait(make())


def test_the_access_log(
    guarded: GrpcServing, channel: grpc.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "wasinn.access"):
        call(channel, "ServerLive")
        call(channel, "ModelInfer", echo(), "Bearer sesame")
        with pytest.raises(grpc.RpcError):
            call(channel, "ModelMetadata", messages.ModelMetadataRequest(name='a\n"b'), "Bearer sesame")
        guarded.wait(asyncio.sleep(0))
    lines = [each.getMessage() for each in caplog.records if each.name == "wasinn.access"]
    size = len(echo().SerializeToString())
    assert len(lines) == 2, lines
    wanted = rf'127\.0\.0\.1:\d+ grpc "ModelInfer echo" 200 [\d.]+ms in={size} out=\d+ id="seven"'
    assert re.fullmatch(wanted, lines[0]), lines[0]
    wanted = r'127\.0\.0\.1:\d+ grpc "ModelMetadata a\\n\\"b" 404 [\d.]+ms in=\d+ out=0 error="not_found"'
    assert re.fullmatch(wanted, lines[1]), lines[1]
