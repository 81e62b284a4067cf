# SPDX-License-Identifier: Apache-2.0
"""A command that is served: each input comes back as it was read. An input "fail" is the guest's failure."""

from wasinn_guest import NnError, Request, Strings, Tensor, serve
from wasinn_guest.errors import ErrorCode


def echo(request: Request) -> dict[str, Tensor | Strings]:
    answer: dict[str, Tensor | Strings] = {}
    for name, each in request.inputs.items():
        if name == "fail":
            raise NnError(ErrorCode.UNKNOWN, "it failed as it was asked to")
        if each.datatype == "BYTES":
            answer[name] = Strings(each.strings(), each.dims)
        else:
            answer[name] = each.tensor()
    request["wanted"]
    return answer


Run = serve(echo)
