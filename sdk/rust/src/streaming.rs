// SPDX-License-Identifier: Apache-2.0
//! The calls by which a model's text comes piece by piece, as safe functions. They are WasmEdge's; why each is
//! sound is what `ffi.rs` says of its own.

#[cfg(target_arch = "wasm32")]
mod calls {
    use crate::error::Result;
    use crate::ffi::Written;

    mod imports {
        #[link(wasm_import_module = "wasi_ephemeral_nn")]
        extern "C" {
            pub fn compute_single(context: u32) -> u32;
            pub fn get_output_single(
                context: u32,
                index: u32,
                buffer: *mut u8,
                size: u32,
                written: *mut u32,
            ) -> u32;
            pub fn fini_single(context: u32) -> u32;
        }
    }

    pub fn compute_single(context: u32) -> Result<u32> {
        // Sound: no memory is named at all.
        Ok(unsafe { imports::compute_single(context) })
    }

    pub fn get_output_single(context: u32, index: u32, buffer: &mut [u8]) -> Result<Written> {
        let mut size = 0;
        // Sound: as `get_output` is.
        let code = unsafe {
            imports::get_output_single(context, index, buffer.as_mut_ptr(), buffer.len() as u32, &mut size)
        };
        Ok(Written { code, size: size as usize })
    }

    pub fn fini_single(context: u32) {
        // Sound: no memory is named. Where there is nothing to end, nothing is to be done.
        let _ = unsafe { imports::fini_single(context) };
    }
}

/// Outside of WebAssembly there is no context to call these with: none can be made.
#[cfg(not(target_arch = "wasm32"))]
mod calls {
    use crate::error::{Error, ErrorKind, Result};
    use crate::ffi::Written;

    fn unavailable<T>() -> Result<T> {
        Err(Error::new(ErrorKind::Unavailable, "WASI-NN is there only in a WebAssembly guest"))
    }

    pub fn compute_single(_context: u32) -> Result<u32> {
        unavailable()
    }

    pub fn get_output_single(_context: u32, _index: u32, _buffer: &mut [u8]) -> Result<Written> {
        unavailable()
    }

    pub fn fini_single(_context: u32) {}
}

pub use calls::*;
