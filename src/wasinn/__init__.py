# SPDX-License-Identifier: Apache-2.0
"""wasinn runs WebAssembly guests that do machine-learning inference through WASI-NN."""

from wasinn.abi.component.values import Case
from wasinn.contracts.contract import Contract
from wasinn.contracts.parse import read_contract
from wasinn.errors import BackendError, ConfigError, Error, GuestError, WasiNNError
from wasinn.graphs.permissions import Permissions
from wasinn.graphs.source import GraphSource
from wasinn.handles import Stats
from wasinn.runtime.component_guest import ComponentGuest
from wasinn.runtime.component_instance import ComponentInstance
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.embedding import Host
from wasinn.runtime.guest import Guest
from wasinn.runtime.instance import Instance
from wasinn.runtime.limits import Limits
from wasinn.runtime.outcome import GuestExit, GuestTrap, RunResult, Trap
from wasinn.runtime.wasi import Directory
from wasinn.spec import Encoding, ErrorCode, Target, TensorType

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Case",
    "ComponentGuest",
    "ComponentInstance",
    "ConfigError",
    "Contract",
    "DirectGraph",
    "Directory",
    "Encoding",
    "Error",
    "ErrorCode",
    "GraphSource",
    "Guest",
    "GuestError",
    "GuestExit",
    "GuestTrap",
    "Host",
    "Instance",
    "Limits",
    "Permissions",
    "RunResult",
    "Stats",
    "Target",
    "TensorType",
    "Trap",
    "WasiNNError",
    "read_contract",
]
