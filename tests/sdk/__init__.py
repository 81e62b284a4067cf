# SPDX-License-Identifier: Apache-2.0
"""One set of tests for the SDKs of all languages, and what each has of its own (test_c.py and so on).

Every language has the same guests with the same command line, built from its SDK: those in `guests/`, and
`tensor` and `mistakes` in a folder here. `languages.py` builds them.
"""
