// SPDX-License-Identifier: Apache-2.0
//! What went wrong, in words.

use std::fmt;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What a host answers to a call that failed (the spec's `nn_errno`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// 1
    InvalidArgument,
    /// 2
    InvalidEncoding,
    /// 3
    MissingMemory,
    /// 4
    Busy,
    /// 5
    RuntimeError,
    /// 6
    UnsupportedOperation,
    /// 7
    TooLarge,
    /// 8
    NotFound,
    /// Another number, such as WasmEdge's from 100 on.
    Other(u32),
}

impl Code {
    pub(crate) fn of(number: u32) -> Self {
        match number {
            1 => Self::InvalidArgument,
            2 => Self::InvalidEncoding,
            3 => Self::MissingMemory,
            4 => Self::Busy,
            5 => Self::RuntimeError,
            6 => Self::UnsupportedOperation,
            7 => Self::TooLarge,
            8 => Self::NotFound,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidArgument => "invalid_argument",
            Self::InvalidEncoding => "invalid_encoding",
            Self::MissingMemory => "missing_memory",
            Self::Busy => "busy",
            Self::RuntimeError => "runtime_error",
            Self::UnsupportedOperation => "unsupported_operation",
            Self::TooLarge => "too_large",
            Self::NotFound => "not_found",
            Self::Other(100) => "end_of_sequence",
            Self::Other(101) => "context_full",
            Self::Other(102) => "prompt_too_long",
            Self::Other(103) => "model_not_found",
            Self::Other(number) => return write!(f, "error {number}"),
        })
    }
}

/// Where an error comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The host refused a call.
    Host(Code),
    /// What was asked for cannot be: found here, before the host was called.
    Argument,
    /// A picture cannot be decoded.
    Picture,
    /// What the host says of a graph, or other JSON, is not as expected.
    Metadata,
    /// A file cannot be read.
    Io,
    /// The request to a guest that is served is at fault: its caller is told ([`crate::serve`]).
    Request,
    /// What this build of the guest lacks: a feature that is off, or WASI-NN itself outside of WebAssembly.
    Unavailable,
}

/// What went wrong: a kind for programs, and a text for people (`Display`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of your own, for example of another picture decoder.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Where it comes from.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the host answered, where it was the host.
    pub fn code(&self) -> Option<Code> {
        match self.kind {
            ErrorKind::Host(code) => Some(code),
            _ => None,
        }
    }

    /// The same error as the fault of a request: of a picture that came with it, say.
    pub fn of_request(mut self) -> Self {
        self.kind = ErrorKind::Request;
        self
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Argument, message)
    }

    pub(crate) fn picture(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Picture, message)
    }

    pub(crate) fn metadata(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Metadata, message)
    }

    /// The same error with what it is about before its text.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// `count` zeros, or an error where there is no memory for them: a guest must not end because of one picture.
pub(crate) fn zeros<T: Clone + Default>(count: usize, what: &str) -> Result<Vec<T>> {
    let mut result = room(count, what)?;
    result.resize(count, T::default());
    Ok(result)
}

/// An empty vector with room for `count` elements.
pub(crate) fn room<T>(count: usize, what: &str) -> Result<Vec<T>> {
    let mut result = Vec::new();
    match result.try_reserve_exact(count) {
        Ok(()) => Ok(result),
        Err(_) => Err(Error::argument(format!(
            "there is not enough memory for {what} ({} bytes)",
            count as u64 * std::mem::size_of::<T>() as u64
        ))),
    }
}
