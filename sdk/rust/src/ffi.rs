// SPDX-License-Identifier: Apache-2.0
//! The calls themselves, as safe functions. Nothing else in the crate is `unsafe`.
//!
//! Why each call is sound: the host reads only the memory that a pointer and its length name, and writes only
//! into buffers that are given to be written, at most as many bytes as their length says; it does both before the call returns and
//! keeps no pointer. The references that the pointers are made of live longer than the call, and what is to
//! be written is borrowed mutably, so that no other reference to it exists.

use crate::error::{Code, Error, ErrorKind, Result};

/// The answer of a call that wrote into a buffer: its errno, and the size that it wrote or needs.
pub struct Written {
    pub code: u32,
    pub size: usize,
}

#[cfg(target_arch = "wasm32")]
mod imports {
    #[repr(C)]
    pub struct Builder {
        pub data: *const u8,
        pub size: u32,
    }

    #[repr(C)]
    pub struct Tensor {
        pub dims: *const u32,
        pub dims_count: u32,
        pub element: u8, // and three bytes of padding, which hosts do not read
        pub data: *const u8,
        pub size: u32,
    }

    #[link(wasm_import_module = "wasi_ephemeral_nn")]
    extern "C" {
        pub fn load(builders: *const Builder, count: u32, encoding: u32, target: u32, graph: *mut u32) -> u32;
        pub fn load_by_name(name: *const u8, size: u32, graph: *mut u32) -> u32;
        pub fn init_execution_context(graph: u32, context: *mut u32) -> u32;
        pub fn set_input(context: u32, index: u32, tensor: *const Tensor) -> u32;
        pub fn compute(context: u32) -> u32;
        pub fn get_output(context: u32, index: u32, buffer: *mut u8, size: u32, written: *mut u32) -> u32;
        #[cfg(feature = "wasmedge")]
        pub fn load_by_name_with_config(
            name: *const u8,
            size: u32,
            config: *const u8,
            config_size: u32,
            graph: *mut u32,
        ) -> u32;
        #[cfg(feature = "wasmedge")]
        pub fn unload(graph: u32) -> u32;
        #[cfg(feature = "wasmedge")]
        pub fn finalize_execution_context(context: u32) -> u32;
    }

    #[cfg(feature = "wasinn")]
    #[link(wasm_import_module = "wasinn")]
    extern "C" {
        pub fn graph_metadata(graph: u32, buffer: *mut u8, size: u32, written: *mut u32) -> u32;
        pub fn last_error(buffer: *mut u8, size: u32, written: *mut u32) -> u32;
    }
}

/// Ok for the code 0; else an error with the call, and with the host's reason where it tells one.
pub fn check(code: u32, call: &str) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let (reason, name) = (last_error(), Code::of(code));
    let message = if reason.is_empty() {
        format!("{call} answered {name} ({code}); the host's log says why")
    } else {
        format!("{call}: {reason} ({name})")
    };
    Err(Error::new(ErrorKind::Host(name), message))
}

/// What the host says of its last failure; empty where it says nothing.
#[cfg(feature = "wasinn")]
fn last_error() -> String {
    match read_all(1024, last_error_into) {
        Ok(Ok(text)) => String::from_utf8_lossy(&text).into_owned(),
        _ => String::new(),
    }
}

#[cfg(not(feature = "wasinn"))]
fn last_error() -> String {
    String::new()
}

/// Calls what fills a buffer, again with a larger one where the answer is that it is too small. The code of a
/// call that failed otherwise is the inner Err.
pub fn read_all(
    capacity: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<Written>,
) -> Result<std::result::Result<Vec<u8>, u32>> {
    const TOO_LARGE: u32 = 7;
    let mut buffer = crate::error::zeros(capacity, "an answer of the host")?;
    loop {
        let answer = fill(&mut buffer)?;
        if answer.code == 0 {
            buffer.truncate(answer.size);
            return Ok(Ok(buffer));
        }
        if answer.code != TOO_LARGE || answer.size <= buffer.len() {
            return Ok(Err(answer.code));
        }
        buffer = crate::error::zeros(answer.size, "an answer of the host")?;
    }
}

#[cfg(target_arch = "wasm32")]
mod calls {
    use super::{check, imports, Result, Written};

    pub fn load(builders: &[&[u8]], encoding: u32, target: u32) -> Result<u32> {
        let parts: Vec<imports::Builder> = builders
            .iter()
            .map(|part| imports::Builder { data: part.as_ptr(), size: part.len() as u32 })
            .collect();
        let mut graph = 0;
        // Sound: see above. `parts` and the slices it points to live until the end of this function.
        let code = unsafe { imports::load(parts.as_ptr(), parts.len() as u32, encoding, target, &mut graph) };
        check(code, "load").map(|()| graph)
    }

    pub fn load_by_name(name: &str) -> Result<u32> {
        let mut graph = 0;
        // Sound: see above.
        let code = unsafe { imports::load_by_name(name.as_ptr(), name.len() as u32, &mut graph) };
        check(code, &format!("load_by_name({name:?})")).map(|()| graph)
    }

    #[cfg(feature = "wasmedge")]
    pub fn load_by_name_with_config(name: &str, config: &str) -> Result<u32> {
        let mut graph = 0;
        // Sound: see above.
        let code = unsafe {
            imports::load_by_name_with_config(
                name.as_ptr(),
                name.len() as u32,
                config.as_ptr(),
                config.len() as u32,
                &mut graph,
            )
        };
        check(code, &format!("load_by_name_with_config({name:?})")).map(|()| graph)
    }

    pub fn init_execution_context(graph: u32) -> Result<u32> {
        let mut context = 0;
        // Sound: see above.
        let code = unsafe { imports::init_execution_context(graph, &mut context) };
        check(code, "init_execution_context").map(|()| context)
    }

    pub fn set_input(context: u32, index: u32, element: u8, dims: &[u32], data: &[u8]) -> Result<u32> {
        let tensor = imports::Tensor {
            dims: dims.as_ptr(),
            dims_count: dims.len() as u32,
            element,
            data: data.as_ptr(),
            size: data.len() as u32,
        };
        // Sound: see above. The host copies the data before it returns.
        Ok(unsafe { imports::set_input(context, index, &tensor) })
    }

    pub fn compute(context: u32) -> Result<u32> {
        // Sound: no memory is named at all.
        Ok(unsafe { imports::compute(context) })
    }

    pub fn get_output(context: u32, index: u32, buffer: &mut [u8]) -> Result<Written> {
        let mut size = 0;
        // Sound: see above. The buffer's bytes are initialised, whatever part of them the host writes.
        let code = unsafe {
            imports::get_output(context, index, buffer.as_mut_ptr(), buffer.len() as u32, &mut size)
        };
        Ok(Written { code, size: size as usize })
    }

    #[cfg(feature = "wasmedge")]
    pub fn unload(graph: u32) {
        // Sound: no memory is named. A handle that the host refuses to free is its own to clean up.
        let _ = unsafe { imports::unload(graph) };
    }

    #[cfg(feature = "wasmedge")]
    pub fn finalize_execution_context(context: u32) {
        // Sound: as in `unload`.
        let _ = unsafe { imports::finalize_execution_context(context) };
    }

    #[cfg(feature = "wasinn")]
    pub fn graph_metadata(graph: u32, buffer: &mut [u8]) -> Result<Written> {
        let mut size = 0;
        // Sound: as in `get_output`.
        let code =
            unsafe { imports::graph_metadata(graph, buffer.as_mut_ptr(), buffer.len() as u32, &mut size) };
        Ok(Written { code, size: size as usize })
    }

    #[cfg(feature = "wasinn")]
    pub fn last_error_into(buffer: &mut [u8]) -> Result<Written> {
        let mut size = 0;
        // Sound: as in `get_output`.
        let code = unsafe { imports::last_error(buffer.as_mut_ptr(), buffer.len() as u32, &mut size) };
        Ok(Written { code, size: size as usize })
    }
}

/// Outside of WebAssembly there is no host to call: each call says so.
#[cfg(not(target_arch = "wasm32"))]
mod calls {
    use super::{Error, ErrorKind, Result, Written};

    fn unavailable<T>() -> Result<T> {
        Err(Error::new(
            ErrorKind::Unavailable,
            "WASI-NN is there only in a WebAssembly guest: build for wasm32-wasip1 (wasm32-wasi before Rust \
             1.78), and start it with `wasinn run`",
        ))
    }

    pub fn load(_builders: &[&[u8]], _encoding: u32, _target: u32) -> Result<u32> {
        unavailable()
    }

    pub fn load_by_name(_name: &str) -> Result<u32> {
        unavailable()
    }

    #[cfg(feature = "wasmedge")]
    pub fn load_by_name_with_config(_name: &str, _config: &str) -> Result<u32> {
        unavailable()
    }

    pub fn init_execution_context(_graph: u32) -> Result<u32> {
        unavailable()
    }

    pub fn set_input(_context: u32, _index: u32, _element: u8, _dims: &[u32], _data: &[u8]) -> Result<u32> {
        unavailable()
    }

    pub fn compute(_context: u32) -> Result<u32> {
        unavailable()
    }

    pub fn get_output(_context: u32, _index: u32, _buffer: &mut [u8]) -> Result<Written> {
        unavailable()
    }

    #[cfg(feature = "wasmedge")]
    pub fn unload(_graph: u32) {}

    #[cfg(feature = "wasmedge")]
    pub fn finalize_execution_context(_context: u32) {}

    #[cfg(feature = "wasinn")]
    pub fn graph_metadata(_graph: u32, _buffer: &mut [u8]) -> Result<Written> {
        unavailable()
    }

    #[cfg(feature = "wasinn")]
    pub fn last_error_into(_buffer: &mut [u8]) -> Result<Written> {
        unavailable()
    }
}

pub use calls::*;
