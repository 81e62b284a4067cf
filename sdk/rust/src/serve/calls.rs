// SPDX-License-Identifier: Apache-2.0
//! How the server calls a guest.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use super::{Answer, Handler, Request};
use crate::error::{Error, ErrorKind, Result};

const ALIGNMENT: usize = 8;

thread_local! {
    /// The request, and where it begins; the answer, which must stay until the host has read it.
    static REQUEST: RefCell<(Vec<u8>, usize)> = const { RefCell::new((Vec::new(), 0)) };
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Room for a request of so many bytes, which the host writes; null where there is none.
pub fn alloc(size: u32) -> *mut u8 {
    let mut buffer = Vec::new();
    if buffer.try_reserve_exact(size as usize + ALIGNMENT).is_err() {
        return std::ptr::null_mut();
    }
    buffer.resize(size as usize + ALIGNMENT, 0);
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let place = buffer[start..].as_mut_ptr();
    REQUEST.with(|request| *request.borrow_mut() = (buffer, start));
    place
}

/// Answers the request that lies where [`alloc`] said: the answer's place in the upper 32 bits, its size in the
/// lower; 0 where the guest failed, after the reason on stderr.
pub fn handle(handler: Handler, place: *const u8, size: u32) -> u64 {
    let answer = REQUEST.with(|request| {
        let (buffer, start) = &*request.borrow();
        match buffer.get(*start..*start + size as usize) {
            Some(message) if message.as_ptr() == place => respond(handler, message),
            _ => Err(Error::argument("wasinn_handle got another place than wasinn_alloc gave")),
        }
    });
    match answer {
        Ok(message) => ANSWER.with(|kept| {
            let found = (message.as_ptr() as u64) << 32 | message.len() as u64 & 0xffff_ffff;
            *kept.borrow_mut() = message;
            found
        }),
        Err(error) => {
            eprintln!("{error}");
            0
        }
    }
}

/// Answers the request on stdin, to stdout: a command's `main`.
pub fn command(handler: Handler) -> ExitCode {
    let mut message = Vec::new();
    let done = io::stdin()
        .lock()
        .read_to_end(&mut message)
        .map_err(|error| Error::new(ErrorKind::Io, format!("stdin cannot be read: {error}")))
        .and_then(|_| respond(handler, &message))
        .and_then(|answer| {
            let mut stdout = io::stdout().lock();
            stdout
                .write_all(&answer)
                .and_then(|()| stdout.flush())
                .map_err(|error| Error::new(ErrorKind::Io, format!("stdout cannot be written: {error}")))
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The answer to a message: a refusal where the request is at fault.
fn respond(handler: Handler, message: &[u8]) -> Result<Vec<u8>> {
    match Request::parse(message).and_then(|request| handler(&request)) {
        Ok(answer) => Ok(answer.into_bytes()),
        Err(error) if error.kind() == ErrorKind::Request => Ok(Answer::refusal(&error.to_string()).into_bytes()),
        Err(error) => Err(error),
    }
}
