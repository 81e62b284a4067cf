// SPDX-License-Identifier: Apache-2.0
//! The tensors of a request, where they lie.

use std::convert::TryInto;

use super::MAGIC;
use crate::error::{Error, ErrorKind, Result};
use crate::{Tensor, Type};

const MOST_DIMS: usize = 32;

/// A request's tensors.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    inputs: Vec<Input<'a>>,
}

/// One of them; the datatype is the Open Inference Protocol's, such as "FP32" or "BYTES".
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its datatype.
    pub datatype: &'a str,
    /// The sizes of its dimensions.
    pub dims: Vec<u32>,
    /// Its bytes, little-endian; of BYTES each element's length in 4 bytes, and the element.
    pub data: &'a [u8],
}

impl<'a> Request<'a> {
    /// From a message, as the server sends it; the data stays where it is.
    pub fn parse(message: &'a [u8]) -> Result<Self> {
        let mut at = Reader { message, at: 0 };
        if at.take(4)? != MAGIC {
            return Err(bad("is no message: it does not begin with \"wnt1\""));
        }
        let count = at.number()?;
        let mut inputs = Vec::new();
        for _ in 0..count {
            inputs.push(at.input()?);
        }
        Ok(Self { inputs })
    }

    /// All of them, in their order.
    pub fn inputs(&self) -> &[Input<'a>] {
        &self.inputs
    }

    /// The input of that name; an error that lists what there is.
    pub fn input(&self, name: &str) -> Result<&Input<'a>> {
        self.find(name).ok_or_else(|| {
            let known: Vec<String> = self.inputs.iter().map(|each| format!("'{}'", each.name)).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            bad(format!("has no input '{name}'; it has {known}"))
        })
    }

    /// The input of that name, if it is there.
    pub fn find(&self, name: &str) -> Option<&Input<'a>> {
        self.inputs.iter().find(|each| each.name == name)
    }
}

impl<'a> Input<'a> {
    /// A copy as a tensor; an error for BYTES.
    pub fn tensor(&self) -> Result<Tensor> {
        match Type::parse(self.datatype) {
            Some(element) => Tensor::from_bytes(element, &self.dims, self.data.to_vec()).map_err(Error::of_request),
            None => Err(self.wrong("of numbers")),
        }
    }

    /// The values; an error where the input is not of that type.
    pub fn values<T: crate::Element>(&self) -> Result<Vec<T>> {
        if Type::parse(self.datatype) != Some(T::TYPE) {
            return Err(self.wrong(T::TYPE.protocol_name()));
        }
        self.tensor()?.to_vec()
    }

    /// The elements of BYTES: files, or texts; an error for another datatype.
    pub fn strings(&self) -> Result<Vec<&'a [u8]>> {
        if self.datatype != "BYTES" {
            return Err(self.wrong("BYTES"));
        }
        let mut at = Reader { message: self.data, at: 0 };
        let mut found = Vec::new();
        while at.at < self.data.len() {
            let size = at.number()? as usize;
            found.push(at.take(size)?);
        }
        if crate::tensor::count(&self.dims) != Some(found.len()) {
            return Err(bad(format!("has the input '{}' {:?} of {} elements", self.name, self.dims, found.len())));
        }
        Ok(found)
    }

    fn wrong(&self, wanted: &str) -> Error {
        let reason = format!("the input '{}' is {}, and must be {wanted}", self.name, self.datatype);
        Error::new(ErrorKind::Request, reason)
    }
}

fn bad(reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Request, format!("the request {reason}"))
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(size).filter(|&end| end <= self.message.len());
        let end = end.ok_or_else(|| bad(format!("is cut off at byte {}", self.message.len())))?;
        let found = &self.message[self.at..end];
        self.at = end;
        Ok(found)
    }

    fn number(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    fn long(&mut self) -> Result<u64> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    fn text(&mut self, size: u32) -> Result<&'a str> {
        std::str::from_utf8(self.take(size as usize)?).map_err(|_| bad("has a name that is not UTF-8"))
    }

    fn align(&mut self) -> Result<()> {
        self.take((8 - self.at % 8) % 8).map(|_| ())
    }

    fn input(&mut self) -> Result<Input<'a>> {
        let (name_size, datatype_size, rank) = (self.number()?, self.number()?, self.number()? as usize);
        let (_, size) = (self.number()?, self.long()?);
        if rank > MOST_DIMS {
            return Err(bad(format!("has a tensor of {rank} dims")));
        }
        let mut dims = Vec::with_capacity(rank);
        for _ in 0..rank {
            dims.push(self.long()?.try_into().map_err(|_| bad("has a dim of more than 32 bits"))?);
        }
        let (name, datatype) = (self.text(name_size)?, self.text(datatype_size)?);
        self.align()?;
        let data = self.take(size.try_into().map_err(|_| bad("has too much data"))?)?;
        self.align()?;
        Ok(Input { name, datatype, dims, data })
    }
}
