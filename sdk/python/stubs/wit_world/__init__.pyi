# SPDX-License-Identifier: Apache-2.0
"""The bindings that componentize-py generates of the worlds in ../../wit, for type checkers."""

class WitWorld: ...
