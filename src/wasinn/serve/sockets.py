# SPDX-License-Identifier: Apache-2.0
"""The ports of the server, taken before any process starts, with errors that say what to do."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import socket
import struct
import sys

from wasinn.errors import ConfigError

#: Connections that wait to be accepted.
BACKLOG = 1024


def listen(host: str, port: int, key: str = "http_port") -> socket.socket:
    """A listening TCP socket, which all processes of the server accept from. Raises ConfigError."""
    found = _bound(host, port, key, reuse_port=False)
    found.listen(BACKLOG)
    return found


def reserve(host: str, port: int, key: str = "grpc_port") -> socket.socket:
    """A socket that keeps a port for processes that each listen on it for themselves (SO_REUSEPORT). It does
    not listen. Raises ConfigError."""
    if port:
        # With SO_REUSEPORT another server of this user would share its port without a word.
        _bound(host, port, key, reuse_port=False).close()
    return _bound(host, port, key, reuse_port=True)


def shut_door(listening: socket.socket) -> None:
    """Has the system drop whatever comes to a listening socket from now on, in every process that has it.

    What waits can still be accepted. A caller who comes now is refused a second later, when it tries again
    and the socket is closed; without this, its connection could be made and then broken off, request and all,
    between the last look and the close. Where the system has no such filters nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    # struct sock_filter of linux/filter.h: BPF_RET | BPF_K, with nothing of the packet kept.
    program = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    with contextlib.suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program))
        )


#: asm-generic/socket.h
_SO_ATTACH_FILTER = 26


def address_of(bound: socket.socket) -> str:
    """`127.0.0.1:8000` or `[::1]:8000`."""
    return _joined(*bound.getsockname()[:2])


def reachable(bound: socket.socket) -> str:
    """The address that a program on this machine can use: that of a socket on all addresses is no address."""
    host, port = bound.getsockname()[:2]
    return _joined({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(bound: socket.socket) -> bool:
    """Whether only programs of this machine can reach it."""
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def _bound(host: str, port: int, key: str, reuse_port: bool) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that is too long
        raise ConfigError(f"host {host!r} is no address of this machine: {error}") from None
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # "::" is every address, the old ones as well.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
        bound.setblocking(False)
        return bound
    except OSError as error:
        bound.close()
        raise ConfigError(_reason(error, host, port, key)) from None


def _reason(error: OSError, host: str, port: int, key: str) -> str:
    option = "--" + key.replace("_", "-")
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken by another program: choose another with {option}, or {option} 0 "
            "for any that is free"
        )
    if error.errno == errno.EACCES:
        return f"port {port} is not for this user (those below 1024 are root's): choose another with {option}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host {host!r} is no address of this machine: give --host 127.0.0.1, or 0.0.0.0 for all"
    return f"cannot listen on port {port} of {host}: {error.strerror}"
