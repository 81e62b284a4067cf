# SPDX-License-Identifier: Apache-2.0
"""One set of tests for every backend and every encoding that it serves.

`cases.py` lists the pairs, as `lookup.all_backends()` has them, and what is known to be missing: a new
backend is proven by being installed, a new encoding by a module in the zoo. Every call takes the whole way
of a real guest's, through the driver.
"""
