// SPDX-License-Identifier: Apache-2.0
//! A classifier's numbers: probabilities, and the order of the classes.

use std::cmp::Ordering;

/// exp(x) / sum(exp(x)), without overflow. -inf gets 0; of a list with +inf these share 1; where the limit is
/// no number (a NaN, or nothing but -inf) the result is none either.
pub fn softmax(values: &[f64]) -> Vec<f64> {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let power = |&value: &f64| {
        if largest == f64::INFINITY && !value.is_nan() {
            f64::from(u8::from(value == f64::INFINITY))
        } else {
            (value - largest).exp()
        }
    };
    let powers: Vec<f64> = values.iter().map(power).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The indices of the `k` largest values, the largest first: of equal ones the lower index first, NaN last.
pub fn top_k(values: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // The sort keeps equals in their order.
    order.sort_by(|&a, &b| match (values[a].is_nan(), values[b].is_nan()) {
        (false, false) => values[b].partial_cmp(&values[a]).unwrap_or(Ordering::Equal),
        (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan),
    });
    order.truncate(k);
    order
}
