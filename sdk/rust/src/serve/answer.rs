// SPDX-License-Identifier: Apache-2.0
//! The tensors of an answer, as the server reads them.

use super::{MAGIC, REFUSAL};
use crate::error::{Error, Result};
use crate::tensor::count;
use crate::Tensor;

/// An answer, to which tensors are added one by one.
#[derive(Debug, Clone)]
pub struct Answer {
    count: u32,
    message: Vec<u8>,
}

impl Default for Answer {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer {
    /// Without a tensor yet.
    pub fn new() -> Self {
        Self { count: 0, message: [&MAGIC[..], &[0; 4]].concat() }
    }

    /// Adds a tensor; its bytes are copied.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> &mut Self {
        self.head(name, tensor.element().protocol_name(), tensor.dims(), tensor.bytes().len());
        self.message.extend_from_slice(tensor.bytes());
        self.align();
        self
    }

    /// Adds a tensor of BYTES: texts, or files. An error where the dims hold another number of elements.
    pub fn strings<T: AsRef<[u8]>>(&mut self, name: &str, dims: &[u32], elements: &[T]) -> Result<&mut Self> {
        if count(dims) != Some(elements.len()) {
            return Err(Error::argument(format!("dims {dims:?} do not hold {} elements", elements.len())));
        }
        self.head(name, "BYTES", dims, elements.iter().map(|each| 4 + each.as_ref().len()).sum());
        for each in elements {
            self.message.extend_from_slice(&(each.as_ref().len() as u32).to_le_bytes());
            self.message.extend_from_slice(each.as_ref());
        }
        self.align();
        Ok(self)
    }

    /// The message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.message
    }

    pub(crate) fn refusal(text: &str) -> Self {
        let size = (text.len() as u32).to_le_bytes();
        Self { count: 0, message: [REFUSAL, &size[..], text.as_bytes()].concat() }
    }

    fn head(&mut self, name: &str, datatype: &str, dims: &[u32], size: usize) {
        self.count += 1;
        self.message[4..8].copy_from_slice(&self.count.to_le_bytes());
        for number in [name.len() as u32, datatype.len() as u32, dims.len() as u32, 0] {
            self.message.extend_from_slice(&number.to_le_bytes());
        }
        self.message.extend_from_slice(&(size as u64).to_le_bytes());
        for &dim in dims {
            self.message.extend_from_slice(&u64::from(dim).to_le_bytes());
        }
        self.message.extend_from_slice(name.as_bytes());
        self.message.extend_from_slice(datatype.as_bytes());
        self.align();
        self.message.reserve(size + 8);
    }

    fn align(&mut self) {
        let size = (self.message.len() + 7) & !7;
        self.message.resize(size, 0);
    }
}
