# SPDX-License-Identifier: Apache-2.0
"""What `run.py` measures, one module each. A module's `measure` gives the rows of its table."""
