// SPDX-License-Identifier: Apache-2.0
//! A tensor: type, dims and bytes that fit each other.

use crate::error::{room, Error, Result};
use crate::types::{with_element, Element, Type};

/// A type, dims, and the elements' little-endian bytes, as many as the dims say.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    element: Type,
    dims: Vec<u32>,
    data: Vec<u8>,
}

impl Tensor {
    /// From values, whose type is the tensor's: `Tensor::new(&[1, 4], &[1.0f32, 2.0, 3.0, 4.0])`.
    ///
    /// An error where the dims do not multiply to the number of values.
    pub fn new<T: Element>(dims: &[u32], values: &[T]) -> Result<Self> {
        if count(dims) != Some(values.len()) {
            return Err(Error::argument(format!(
                "dims {dims:?} hold {}, but {} of {} came",
                elements(dims),
                plural(values.len(), "value"),
                T::TYPE
            )));
        }
        let mut data = Vec::with_capacity(values.len() * T::TYPE.size());
        values.iter().for_each(|value| value.append(&mut data));
        Ok(Self { element: T::TYPE, dims: dims.to_vec(), data })
    }

    /// From bytes as they are. An error where the dims times the type's size are not as many.
    pub fn from_bytes(element: Type, dims: &[u32], data: Vec<u8>) -> Result<Self> {
        let wanted = count(dims).and_then(|count| count.checked_mul(element.size()));
        if wanted != Some(data.len()) {
            return Err(Error::argument(format!(
                "{element} {dims:?} is {} of {} bytes each{}, but {} came",
                elements(dims),
                element.size(),
                wanted.map_or(String::new(), |wanted| format!(", {wanted} in all")),
                plural(data.len(), "byte")
            )));
        }
        Ok(Self { element, dims: dims.to_vec(), data })
    }

    /// A text for a language model: bytes with dims [1], which graphs of the encoding ggml take.
    pub fn from_prompt(text: &str) -> Self {
        Self { element: Type::U8, dims: vec![1], data: text.as_bytes().to_vec() }
    }

    /// The elements' type.
    pub fn element(&self) -> Type {
        self.element
    }

    /// The sizes of the dimensions.
    pub fn dims(&self) -> &[u32] {
        &self.dims
    }

    /// The elements' little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.data
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.element.size()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The values. An error where `T` is not the tensor's type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if T::TYPE != self.element {
            return Err(Error::argument(format!(
                "the tensor's elements are {}, and {} was asked for",
                self.element,
                T::TYPE
            )));
        }
        Ok(self.data.chunks_exact(self.element.size()).map(T::read).collect())
    }

    /// The values of any type as f64; bf16 too.
    pub fn to_f64(&self) -> Vec<f64> {
        let chunks = self.data.chunks_exact(self.element.size());
        with_element!(
            self.element,
            T => chunks.map(|chunk| T::read(chunk).as_f64()).collect(),
            chunks.map(|chunk| f64::from(f32::from_bits(u32::from(u16::read(chunk)) << 16))).collect()
        )
    }

    /// The same elements with other dims. An error where these hold another number of elements.
    pub fn reshaped(mut self, dims: &[u32]) -> Result<Self> {
        if count(dims) != Some(self.len()) {
            return Err(Error::argument(format!(
                "dims {:?} cannot become {dims:?}: {} are not {}",
                self.dims,
                plural(self.len(), "element"),
                elements(dims)
            )));
        }
        self.dims = dims.to_vec();
        Ok(self)
    }

    /// Tensors of one type that are alike but for their first dimension, one after the other along it: a
    /// batch of pictures.
    pub fn stack(parts: &[Tensor]) -> Result<Self> {
        let first = parts.first().ok_or_else(|| Error::argument("a batch needs at least one tensor"))?;
        let rest = first
            .dims
            .get(1..)
            .ok_or_else(|| Error::argument("a tensor without dims cannot be part of a batch"))?;
        let size = parts.iter().fold(0usize, |size, part| size.saturating_add(part.data.len()));
        let data = room(size, "the batch")?;
        let mut result = Self { element: first.element, dims: first.dims.clone(), data };
        result.dims[0] = 0;
        for part in parts {
            if part.element != first.element || part.dims.get(1..) != Some(rest) {
                return Err(Error::argument(format!(
                    "{} {:?} and {} {:?} are no batch: all but the first dimension must be alike",
                    first.element, first.dims, part.element, part.dims
                )));
            }
            result.dims[0] = result.dims[0]
                .checked_add(part.dims[0])
                .ok_or_else(|| Error::argument("a batch of more than 4294967295"))?;
            result.data.extend_from_slice(&part.data);
        }
        Ok(result)
    }

    /// The elements along the first dimension, each as a tensor whose first dimension is 1: a batch's answers.
    pub fn unstack(&self) -> Result<Vec<Tensor>> {
        let parts = *self
            .dims
            .first()
            .ok_or_else(|| Error::argument("a tensor without dims is no batch"))? as usize;
        let mut dims = self.dims.clone();
        dims[0] = 1;
        let size = self.data.len().checked_div(parts).unwrap_or(0);
        Ok((0..parts)
            .map(|at| Self {
                element: self.element,
                dims: dims.clone(),
                data: self.data[at * size..(at + 1) * size].to_vec(),
            })
            .collect())
    }
}

/// How many elements dims hold; None where no address space has room for them.
pub(crate) fn count(dims: &[u32]) -> Option<usize> {
    if dims.contains(&0) {
        return Some(0);
    }
    dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim as usize))
}

fn elements(dims: &[u32]) -> String {
    match count(dims) {
        Some(count) => plural(count, "element"),
        None => "more elements than there can be".to_string(),
    }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
