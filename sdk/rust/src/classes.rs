// SPDX-License-Identifier: Apache-2.0
//! An output as classes with labels and probabilities.

use crate::contract::{OutputContract, OutputKind};
use crate::error::{Error, Result};
use crate::scores::{softmax, top_k};
use crate::tensor::Tensor;

/// A class: its index in the output, its label, its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Its place in the output.
    pub index: usize,
    /// What it is called, where that is known.
    pub label: Option<String>,
    /// A probability, or the model's own number where it has none.
    pub score: f64,
}

impl Scored {
    /// The label, or "class 7".
    pub fn name(&self) -> String {
        self.label.clone().unwrap_or_else(|| format!("class {}", self.index))
    }
}

impl OutputContract {
    /// The real numbers of an output: dequantized where it is quantized.
    pub fn real_values(&self, tensor: &Tensor) -> Result<Vec<f64>> {
        match &self.quantization {
            Some(quantization) if !tensor.element().is_float() => quantization.dequantize(tensor),
            _ => Ok(tensor.to_f64()),
        }
    }

    /// What the numbers of a tensor are: as the contract says, else logits where they are real numbers and
    /// some are outside of 0 to 1, with room for what quantization and rounding add.
    fn kind_of(&self, tensor: &Tensor, values: &[f64]) -> OutputKind {
        let real = tensor.element().is_float() || self.quantization.is_some();
        let share = |value: &f64| (-0.001..=1.001).contains(value);
        match self.kind {
            Some(kind) => kind,
            None if !real => OutputKind::Raw,
            None if values.iter().all(share) => OutputKind::Probabilities,
            None => OutputKind::Logits,
        }
    }

    /// The class of the largest number first: `k` classes, or all where there are fewer, with labels and
    /// probabilities (logits through softmax, a single one through the sigmoid function).
    ///
    /// The tensor is of one picture: dims [classes] with dims of 1 around. Ties go to the lower class, NaN
    /// comes last. A single number with two labels is that of class 1; class 0 has what is left.
    pub fn top_k(&self, tensor: &Tensor, k: usize) -> Result<Vec<Scored>> {
        if tensor.dims().iter().filter(|&&dim| dim != 1).count() > 1 {
            return Err(Error::argument(format!(
                "output {:?} is {:?}, and the scores of one picture were wanted, [classes] with dims of 1 \
                 around (a batch: Tensor::unstack)",
                self.name,
                tensor.dims()
            )));
        }
        let mut values = self.real_values(tensor)?;
        let kind = self.kind_of(tensor, &values);
        let mut scores = match (kind, &values[..]) {
            (OutputKind::Logits, &[one]) => softmax(&[one, 0.0])[..1].to_vec(),
            (OutputKind::Logits, _) => softmax(&values),
            _ => values.clone(),
        };
        let two = self.label(1).is_some() && self.label(2).is_none();
        if let ([one], true, OutputKind::Logits | OutputKind::Probabilities) = (&scores[..], two, kind) {
            scores = vec![1.0 - one, *one];
            values = scores.clone();
        }
        // By the numbers themselves: softmax makes equals of very small and of very near ones.
        let best = top_k(&values, k).into_iter();
        Ok(best
            .map(|index| Scored {
                index,
                label: self.label(index).map(str::to_string),
                score: scores[index],
            })
            .collect())
    }
}
