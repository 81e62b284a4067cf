# SPDX-License-Identifier: Apache-2.0
"""Guests and graphs past one machine: `wasinn.cluster.ray` runs them over the rows of a Ray dataset."""
