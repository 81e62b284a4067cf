# SPDX-License-Identifier: Apache-2.0
"""wasinn's log on a terminal."""

from __future__ import annotations

import logging
import sys


def log_to_terminal(level: int = logging.WARNING) -> logging.Handler:
    """Shows wasinn's log on stderr, a line each; what does so."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("wasinn: %(message)s"))
    logger = logging.getLogger("wasinn")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
    return handler
