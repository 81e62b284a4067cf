// SPDX-License-Identifier: Apache-2.0
//! Integers that stand for real numbers: real = scale * (integer - zero point).

use crate::error::{Error, Result};
use crate::json::Json;
use crate::tensor::Tensor;
use crate::types::{with_element, Element, Type};

/// Scale and zero point, one for the whole tensor, or one for each index of the dimension `axis`.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantization {
    /// What one step of the integers is.
    pub scale: Vec<f64>,
    /// The integer that stands for 0; as many as scales.
    pub zero_point: Vec<i64>,
    /// The dimension along which they change; None where there is one of each.
    pub axis: Option<usize>,
}

impl Quantization {
    /// One scale and one zero point.
    pub fn new(scale: f64, zero_point: i64) -> Self {
        Self { scale: vec![scale], zero_point: vec![zero_point], axis: None }
    }

    pub(crate) fn from_json(json: &Json) -> Result<Self> {
        let list = |key: &str| match json.get(key) {
            Some(Json::Array(elements)) => elements.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        let scale: Option<Vec<f64>> = list("scale").iter().map(Json::as_f64).collect();
        let points: Option<Vec<i64>> = list("zero_point").iter().map(Json::as_i64).collect();
        let (scale, mut zero_point) = match (scale, points) {
            (Some(scale), Some(points)) if !scale.is_empty() => (scale, points),
            _ => return Err(Error::metadata("a quantization needs numbers as scale and zero_point")),
        };
        if zero_point.len() < 2 {
            let one = zero_point.first().copied().unwrap_or(0);
            zero_point = vec![one; scale.len()];
        }
        let axis = json.get("axis").and_then(Json::as_i64).map(|axis| axis as usize);
        if zero_point.len() != scale.len() || (axis.is_none() && scale.len() > 1) {
            return Err(Error::metadata(format!(
                "a quantization of {} scales, {} zero points and {}",
                scale.len(),
                zero_point.len(),
                axis.map_or("no axis".to_string(), |axis| format!("axis {axis}"))
            )));
        }
        Ok(Self { scale, zero_point, axis })
    }

    /// For each element of a tensor of `dims`: which scale is its own.
    fn indices(&self, dims: &[u32]) -> Result<impl Fn(usize) -> usize> {
        let (count, step) = match self.axis {
            None => (1, 1),
            Some(axis) => {
                if dims.get(axis).map(|&dim| dim as usize) != Some(self.scale.len()) {
                    return Err(Error::argument(format!(
                        "a quantization of {} scales along dimension {axis} does not fit dims {dims:?}",
                        self.scale.len()
                    )));
                }
                (self.scale.len(), dims[axis + 1..].iter().fold(1usize, |all, &dim| all.saturating_mul(dim as usize)))
            }
        };
        Ok(move |at: usize| at / std::cmp::max(step, 1) % count)
    }

    /// The real numbers that a tensor of integers stands for, as f64.
    pub fn dequantize(&self, tensor: &Tensor) -> Result<Vec<f64>> {
        let index = self.indices(tensor.dims())?;
        let mut values = tensor.to_f64();
        // In f32, as TensorFlow Lite does it, where that holds the integers exactly.
        let wide = tensor.element().size() > 2;
        for (at, value) in values.iter_mut().enumerate() {
            let (scale, point) = (self.scale[index(at)], self.zero_point[index(at)] as f64);
            *value = if wide {
                (*value - point) * scale
            } else {
                f64::from((*value as f32 - point as f32) * scale as f32)
            };
        }
        Ok(values)
    }

    /// Real numbers as a tensor of integers of the type `element`: divided by the scale, rounded (halves away
    /// from zero), plus the zero point, saturated. NaN becomes the zero point.
    pub fn quantize(&self, values: &[f32], dims: &[u32], element: Type) -> Result<Tensor> {
        let index = self.indices(dims)?;
        let mut data = Vec::with_capacity(values.len() * element.size());
        let no_integer = || Error::argument(format!("values are quantized to integers, not to {element}"));
        if element.is_float() {
            return Err(no_integer());
        }
        with_element!(
            element,
            T => for (at, &value) in values.iter().enumerate() {
                let (scale, point) = (self.scale[index(at)], self.zero_point[index(at)] as f64);
                let scaled = if element.size() > 2 {
                    (f64::from(value) / scale).round()
                } else {
                    f64::from((value / scale as f32).round())
                };
                let shifted = if scaled.is_nan() { point } else { scaled + point };
                T::of_f64(shifted).append(&mut data);
            },
            return Err(no_integer())
        );
        Tensor::from_bytes(element, dims, data)
    }
}
