// SPDX-License-Identifier: Apache-2.0
//! How an input or output is named.

use std::fmt;

use crate::contract::{InputContract, OutputContract};

/// An input or output, by index or by name. Made of both by `into`, and of what [`crate::Metadata`] says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// Counted from 0.
    Index(usize),
    /// The model's own name, an alias of it, or the contract's.
    Name(&'a str),
}

impl From<usize> for Key<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for Key<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a InputContract> for Key<'a> {
    fn from(input: &'a InputContract) -> Self {
        input.key()
    }
}

impl<'a> From<&'a OutputContract> for Key<'a> {
    fn from(output: &'a OutputContract) -> Self {
        output.key()
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}
