// SPDX-License-Identifier: Apache-2.0
//! WASI-NN for guests: graphs and contexts that free themselves, typed tensors, pictures, labels, and errors
//! that say why.
//!
//! ```no_run
//! fn main() -> wasinn::Result<()> {
//!     let graph = wasinn::Graph::by_name("default")?;
//!     let mut context = graph.context()?;
//!     context.set_input(0, &wasinn::Tensor::new(&[1, 4], &[1.0f32, 2.0, 3.0, 4.0])?)?;
//!     context.compute()?;
//!     println!("{:?}", context.output_values::<f32>(0)?);
//!     Ok(())
//! }
//! ```
//!
//! From a picture to its classes, with what the host says of the model:
//!
//! ```no_run
//! # fn main() -> wasinn::Result<()> {
//! let graph = wasinn::Graph::by_name("default")?;
//! let (input, output) = (graph.picture_input()?, graph.class_output()?);
//! let mut context = graph.context()?;
//! let image = wasinn::Image::open("/p/seven.png")?;
//! context.set_input(&input, &input.tensor(&image)?)?;
//! context.compute()?;
//! for class in output.top_k(&context.output(&output)?, 5)? {
//!     println!("{} {:.2}%", class.name(), class.score * 100.0);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything but the calls themselves (JSON, pictures, preprocessing, scores) works on any machine, so that
//! a guest's own tests need no WebAssembly; there the calls are errors of [`ErrorKind::Unavailable`].
//!
//! Features, both on by default: `wasinn` imports the host's module of that name, which tells what a graph
//! takes and why a call failed; `wasmedge` imports what WasmEdge added (options by name, freeing of handles, text
//! piece by piece).
//! A guest for hosts that lack them is built with `default-features = false`, and then asks for metadata in vain.

#![deny(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs)]

mod classes;
mod context;
mod contract;
mod error;
mod f16;
#[allow(unsafe_code)]
mod ffi;
mod generate;
mod graph;
mod image;
pub mod json;
mod json_write;
mod key;
mod mask;
mod metadata;
mod preprocess;
mod quantization;
mod resize;
mod scores;
pub mod serve;
#[cfg(feature = "wasmedge")]
#[allow(unsafe_code)]
mod streaming;
mod tensor;
mod types;

pub use classes::Scored;
pub use context::Context;
pub use contract::{Colour, Contract, Fit, ImageContract, InputContract, OutputContract, OutputKind, Resize};
pub use error::{Code, Error, ErrorKind, Result};
pub use f16::F16;
pub use generate::{cosine, Message, Options, Pieces, Usage};
pub use graph::{Encoding, Graph, Target};
pub use image::{palette_png, Image, MAX_PIXELS};
pub use key::Key;
pub use mask::{palette, Mask};
pub use metadata::{Metadata, Port};
pub use preprocess::preprocess;
pub use quantization::Quantization;
pub use resize::resize;
pub use scores::{softmax, top_k};
pub use tensor::Tensor;
pub use types::{Element, Type};
