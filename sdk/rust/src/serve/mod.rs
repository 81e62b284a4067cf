// SPDX-License-Identifier: Apache-2.0
//! Guests that `wasinn serve` answers requests with: one function gets a [`Request`] and returns an [`Answer`].
//!
//! ```no_run
//! use wasinn::serve::{Answer, Request};
//!
//! fn answer(request: &Request) -> wasinn::Result<Answer> {
//!     let mut context = wasinn::Graph::by_name("model")?.context()?;
//!     context.set_input(0, &request.input("x")?.tensor()?)?;
//!     context.compute()?;
//!     let mut answer = Answer::new();
//!     answer.tensor("y", &context.output(0)?);
//!     Ok(answer)
//! }
//!
//! wasinn::serve!(answer); // a cdylib: the server calls it. A command's `main` is `serve::command(answer)`.
//! # fn main() {}
//! ```
//!
//! An error of [`ErrorKind::Request`] is the caller's fault, who gets its text with status 400;
//! [`Error::of_request`] makes one of another. Any other error is the guest's own: status 500, with its text.
//! What is wrong with a request's tensors is found by the functions here, and is of that kind.

mod answer;
mod calls;
mod request;

pub use answer::Answer;
pub use calls::{alloc, command, handle};
pub use request::{Input, Request};

#[cfg(doc)]
use crate::{Error, ErrorKind};

pub(crate) const MAGIC: &[u8; 4] = b"wnt1";
pub(crate) const REFUSAL: &[u8; 4] = b"wne1";

/// What answers a request.
pub type Handler = fn(&Request) -> crate::Result<Answer>;

/// Exports a [`Handler`](crate::serve::Handler) as the server calls it, from a crate of the type `cdylib`.
#[macro_export]
macro_rules! serve {
    ($handler:path) => {
        #[no_mangle]
        pub extern "C" fn wasinn_alloc(size: u32) -> *mut u8 {
            $crate::serve::alloc(size)
        }

        #[no_mangle]
        pub extern "C" fn wasinn_handle(request: *const u8, size: u32) -> u64 {
            $crate::serve::handle($handler, request, size)
        }
    };
}
