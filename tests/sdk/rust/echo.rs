// SPDX-License-Identifier: Apache-2.0
//! A command that is served: each input comes back as it was read. An input "fail" is the guest's failure.

use std::process::ExitCode;

use wasinn::serve::{command, Answer, Request};
use wasinn::{Error, ErrorKind, Result};

fn echo(request: &Request) -> Result<Answer> {
    let mut answer = Answer::new();
    for each in request.inputs() {
        if each.name == "fail" {
            return Err(Error::new(ErrorKind::Argument, "it failed as it was asked to"));
        }
        if each.datatype == "BYTES" {
            answer.strings(each.name, &each.dims, &each.strings()?)?;
        } else {
            answer.tensor(each.name, &each.tensor()?);
        }
    }
    request.input("wanted")?;
    Ok(answer)
}

fn main() -> ExitCode {
    command(echo)
}
