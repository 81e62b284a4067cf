# SPDX-License-Identifier: Apache-2.0
"""Where the log lines of a server process go."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import time

from wasinn.errors import ConfigError
from wasinn.serve.settings import Settings
from wasinn.terminal import log_to_terminal


def set_up_logs(settings: Settings, level: int) -> None:
    """Warnings and worse to stderr; the access log as the settings say. Raises ConfigError for a file that
    cannot be written."""
    handler = log_to_terminal(level)
    # uvicorn warns of every broken request, which is for the one who sent it to know.
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.handlers = [handler]
    uvicorn.setLevel(logging.ERROR)
    uvicorn.propagate = False
    access = logging.getLogger("wasinn.access")
    access.propagate = False
    access.setLevel(logging.INFO)
    access.handlers = [access_handler(settings.access_log)]


def access_handler(where: str) -> logging.Handler:
    """A handler that writes a line for each request to "stderr", "off" or a file, which all processes append
    to and which may be renamed by whoever rotates logs. Raises ConfigError."""
    if where == "off":
        return logging.NullHandler()
    handler: logging.Handler
    if where == "stderr":
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            handler = logging.handlers.WatchedFileHandler(where, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"serve.access_log: cannot write {where}: {error.strerror}") from None
    form = logging.Formatter("%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    return handler
