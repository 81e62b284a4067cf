// SPDX-License-Identifier: Apache-2.0
// A command that is served: each input comes back as it was read. An input "fail" is the guest's failure.
import { Answer, Failure, Request, serveCommand } from "wasinn";

function echo(request: Request, answer: Answer): Failure | null {
  for (let i = 0; i < request.inputs.length; i++) {
    const each = request.inputs[i];
    if (each.name == "fail") return new Failure("it failed as it was asked to");
    let failure: Failure | null = null;
    if (each.datatype == "BYTES") {
      const strings = each.strings();
      failure = strings.isFailed ? strings.error : answer.bytes(each.name, each.dims, strings.value);
    } else {
      const tensor = each.tensor();
      failure = tensor.isFailed ? tensor.error : answer.tensor(each.name, tensor.value);
    }
    if (failure) return failure;
  }
  const wanted = request.input("wanted");
  return wanted.isFailed ? wanted.error : null;
}

serveCommand(echo);
