# SPDX-License-Identifier: Apache-2.0

from .graph import Graph

def graph_metadata(graph: Graph) -> str: ...
