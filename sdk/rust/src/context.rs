// SPDX-License-Identifier: Apache-2.0
//! Execution contexts: set inputs, compute, read outputs.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::error::{Code, Error, ErrorKind, Result};
use crate::ffi;
use crate::graph::Graph;
use crate::key::Key;
use crate::metadata::Port;
use crate::tensor::Tensor;
use crate::types::{Element, Type};

/// A first buffer for an output of unknown size: most fit, and a larger one costs a second call.
const FIRST_CAPACITY: usize = 64 << 10;

/// In which a graph computes. Freed when it is dropped, before its graph.
#[derive(Debug)]
pub struct Context {
    number: u32,
    graph: Graph,
    /// Whether any input was set: an error of `compute` says where none was.
    has_input: bool,
    /// Whether the host may have the sequence of a text that was generated piece by piece.
    #[cfg(feature = "wasmedge")]
    pub(crate) streamed: bool,
    /// Room for each output in bytes, after what it was last: outputs are mostly alike.
    sizes: RefCell<BTreeMap<u32, usize>>,
}

#[cfg(feature = "wasmedge")]
impl Drop for Context {
    fn drop(&mut self) {
        ffi::finalize_execution_context(self.number);
    }
}

impl Context {
    pub(crate) fn new(graph: Graph) -> Result<Self> {
        let number = ffi::init_execution_context(graph.number())?;
        Ok(Self {
            number,
            graph,
            has_input: false,
            #[cfg(feature = "wasmedge")]
            streamed: false,
            sizes: RefCell::new(BTreeMap::new()),
        })
    }

    #[cfg(feature = "wasmedge")]
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The graph that computes here.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Gives an input its tensor; the host copies it. By index, by name, or by what the metadata say of it.
    pub fn set_input<'k>(&mut self, key: impl Into<Key<'k>>, tensor: &Tensor) -> Result<()> {
        let key = key.into();
        let index = match key {
            Key::Index(index) => index,
            Key::Name(_) => self.graph.metadata()?.input_index(key)?,
        };
        let element = tensor.element();
        let code =
            ffi::set_input(self.number, index as u32, element.number(), tensor.dims(), tensor.bytes())?;
        if code == 0 {
            self.has_input = true;
            return Ok(()); // without a text for the call, which costs more than the call
        }
        ffi::check(code, &format!("set_input({key}, {element} {:?})", tensor.dims()))
    }

    /// Computes with the inputs that are set.
    pub fn compute(&mut self) -> Result<()> {
        let code = ffi::compute(self.number)?;
        ffi::check(code, if self.has_input { "compute" } else { "compute, with no input set" })
    }

    /// An output with its type and dims, which the metadata say. Where several dims are dynamic, the tensor
    /// has one dimension: its bytes alone do not tell more ([`Tensor::reshaped`]). Where nobody says the type,
    /// it is taken as f32 (else: [`Context::output_bytes`]).
    pub fn output<'k>(&self, key: impl Into<Key<'k>>) -> Result<Tensor> {
        let key = key.into();
        let metadata = self.graph.metadata()?;
        let index = metadata.output_index(key)?;
        let port = &metadata.outputs[index];
        // Some models do not say the type; nearly all of these compute in f32.
        let element = port.element.or(metadata.output(index)?.element).unwrap_or(Type::F32);
        let data = self.read(index, key)?;
        let dims = port.dims_for(element, data.len());
        let dims = dims.unwrap_or_else(|| vec![(data.len() / element.size()) as u32]);
        Tensor::from_bytes(element, &dims, data).map_err(|error| error.about(format_args!("output {key}")))
    }

    /// An output's values. An error where they are of another type, as far as the metadata are there.
    pub fn output_values<'k, T: Element>(&self, key: impl Into<Key<'k>>) -> Result<Vec<T>> {
        let key = key.into();
        let index = self.output_index(key)?;
        if let Some(element) = self.output_port(index).and_then(|port| port.element) {
            if element != T::TYPE {
                return Err(Error::argument(format!(
                    "output {key} is of {element}, and {} was asked for",
                    T::TYPE
                )));
            }
        }
        let data = self.read(index, key)?;
        let (size, count) = (T::TYPE.size(), data.len() / T::TYPE.size());
        if data.len() % size != 0 {
            return Err(Error::argument(format!(
                "output {key} is {} bytes, which are no whole number of {}",
                data.len(),
                T::TYPE
            )));
        }
        Ok((0..count).map(|at| T::read(&data[at * size..][..size])).collect())
    }

    /// An output's bytes, as many as there are.
    pub fn output_bytes<'k>(&self, key: impl Into<Key<'k>>) -> Result<Vec<u8>> {
        let key = key.into();
        self.read(self.output_index(key)?, key)
    }

    /// An output's bytes into a buffer of your own; how many there are. An error of [`Code::TooLarge`] names
    /// the size that is needed.
    pub fn read_output<'k>(&self, key: impl Into<Key<'k>>, buffer: &mut [u8]) -> Result<usize> {
        let key = key.into();
        let answer = ffi::get_output(self.number, self.output_index(key)? as u32, buffer)?;
        if Code::of(answer.code) == Code::TooLarge {
            return Err(Error::new(
                ErrorKind::Host(Code::TooLarge),
                format!(
                    "output {key} has {} bytes, and the buffer only {}: give one of that size, or take \
                     output_bytes, which sizes its own (too_large)",
                    answer.size,
                    buffer.len()
                ),
            ));
        }
        ffi::check(answer.code, &format!("get_output({key})")).map(|()| answer.size)
    }

    fn output_index(&self, key: Key<'_>) -> Result<usize> {
        match key {
            Key::Index(index) => Ok(index),
            Key::Name(_) => self.graph.metadata()?.output_index(key),
        }
    }

    fn output_port(&self, index: usize) -> Option<Port> {
        self.graph.metadata().ok().and_then(|metadata| metadata.outputs.get(index).cloned())
    }

    /// An output's size in bytes, where the metadata fix it.
    fn fixed_size(&self, index: u32) -> Option<usize> {
        let port = self.output_port(index as usize)?;
        let dims: Option<Vec<u32>> = port.shape?.into_iter().collect();
        crate::tensor::count(&dims?)?.checked_mul(port.element?.size())
    }

    fn read(&self, index: usize, key: Key<'_>) -> Result<Vec<u8>> {
        let index = index as u32;
        let last = self.sizes.borrow().get(&index).copied();
        let capacity = last.or_else(|| self.fixed_size(index)).unwrap_or(FIRST_CAPACITY);
        let answer = ffi::read_all(capacity, |buffer| ffi::get_output(self.number, index, buffer))?;
        let mut data = match answer {
            Ok(data) => data,
            Err(code) => return ffi::check(code, &format!("get_output({key})")).map(|()| Vec::new()),
        };
        data.shrink_to_fit();
        // What is not fixed is a little larger the next time, as often as not.
        let fixed = self.fixed_size(index) == Some(data.len());
        let next = if fixed { data.len() } else { (data.len() + data.len() / 4).max(4096) };
        self.sizes.borrow_mut().insert(index, next);
        Ok(data)
    }
}
