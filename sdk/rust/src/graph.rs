// SPDX-License-Identifier: Apache-2.0
//! Graphs: models that the host has loaded.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::rc::{Rc, Weak};

use crate::context::Context;
use crate::contract::{InputContract, OutputContract};
use crate::error::{room, Error, ErrorKind, Result};
use crate::ffi;
use crate::metadata::Metadata;

/// The format of a model's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Encoding {
    OpenVino = 0,
    Onnx = 1,
    TensorFlow = 2,
    PyTorch = 3,
    TensorFlowLite = 4,
    /// The host looks at the bytes.
    AutoDetect = 5,
    Ggml = 6,
}

/// What is to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Target {
    Cpu = 0,
    Gpu = 1,
    Tpu = 2,
}

/// A model that the host has loaded. The last of its clones and contexts frees it.
#[derive(Debug, Clone)]
pub struct Graph(pub(crate) Rc<Handle>);

#[derive(Debug)]
pub(crate) struct Handle {
    number: u32,
    metadata: RefCell<Option<Rc<Metadata>>>,
}

#[cfg(feature = "wasmedge")]
impl Drop for Handle {
    fn drop(&mut self) {
        ffi::unload(self.number);
    }
}

thread_local! {
    /// The handles that are held: a host answers one name with one handle, which must be freed once.
    static HELD: RefCell<BTreeMap<u32, Weak<Handle>>> = RefCell::new(BTreeMap::new());
}

impl Graph {
    /// The graph that the host has under this name (`wasinn run --graph NAME=...`).
    pub fn by_name(name: &str) -> Result<Self> {
        ffi::load_by_name(name).map(Self::of)
    }

    /// The same, with options as JSON for the graph, as WasmEdge takes them.
    #[cfg(feature = "wasmedge")]
    pub fn by_name_with_config(name: &str, config: &str) -> Result<Self> {
        ffi::load_by_name_with_config(name, config).map(Self::of)
    }

    /// A graph of the model's bytes: most formats have one part, OpenVINO two (the XML, then the weights).
    pub fn from_bytes(parts: &[&[u8]], encoding: Encoding, target: Target) -> Result<Self> {
        ffi::load(parts, encoding as u32, target as u32).map(Self::of)
    }

    /// A graph of the model's files, which the guest reads itself.
    pub fn from_files<P: AsRef<Path>>(files: &[P], encoding: Encoding, target: Target) -> Result<Self> {
        let parts: Vec<Vec<u8>> = files.iter().map(|file| read_file(file.as_ref())).collect::<Result<_>>()?;
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        Self::from_bytes(&parts, encoding, target)
    }

    fn of(number: u32) -> Self {
        HELD.with(|held| {
            let mut held = held.borrow_mut();
            if let Some(handle) = held.get(&number).and_then(Weak::upgrade) {
                return Self(handle);
            }
            held.retain(|_, handle| handle.strong_count() > 0);
            let handle = Rc::new(Handle { number, metadata: RefCell::new(None) });
            held.insert(number, Rc::downgrade(&handle));
            Self(handle)
        })
    }

    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }

    /// A context in which the graph computes. It keeps the graph.
    pub fn context(&self) -> Result<Context> {
        Context::new(self.clone())
    }

    /// What the graph takes and gives; asked of the host once. An error of [`ErrorKind::Unavailable`] where
    /// the guest is built without the feature `wasinn`.
    pub fn metadata(&self) -> Result<Rc<Metadata>> {
        if let Some(known) = self.0.metadata.borrow().as_ref() {
            return Ok(Rc::clone(known));
        }
        let metadata = Rc::new(Metadata::parse(&self.metadata_json()?)?);
        *self.0.metadata.borrow_mut() = Some(Rc::clone(&metadata));
        Ok(metadata)
    }

    /// The same as the JSON that the host wrote.
    #[cfg(feature = "wasinn")]
    pub fn metadata_json(&self) -> Result<String> {
        let bytes = ffi::read_all(16 << 10, |buffer| ffi::graph_metadata(self.number(), buffer))?;
        let bytes = bytes.or_else(|code| ffi::check(code, "graph_metadata").map(|()| Vec::new()))?;
        String::from_utf8(bytes).map_err(|_| Error::metadata("the graph's metadata are not UTF-8"))
    }

    /// The same as the JSON that the host wrote.
    #[cfg(not(feature = "wasinn"))]
    pub fn metadata_json(&self) -> Result<String> {
        Err(Error::new(
            ErrorKind::Unavailable,
            "this guest is built without the feature \"wasinn\", so that the host cannot be asked what the \
             graph takes: use indices, and an InputContract or OutputContract of the guest's own",
        ))
    }

    /// The only input that is a picture; see [`Metadata::picture_input`].
    pub fn picture_input(&self) -> Result<InputContract> {
        self.metadata()?.picture_input()
    }

    /// The output with the classes' scores; see [`Metadata::class_output`].
    pub fn class_output(&self) -> Result<OutputContract> {
        self.metadata()?.class_output()
    }

    /// The output with a mask; see [`Metadata::mask_output`].
    pub fn mask_output(&self) -> Result<OutputContract> {
        self.metadata()?.mask_output()
    }
}

/// A file's content; the error says what guests are told of missing files.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let about = |error: std::io::Error| {
        let text = error.to_string();
        // Of a path in no folder of the guest's, the C library of WASI says only this.
        let text = if error.kind() == std::io::ErrorKind::NotFound || text.contains("pre-opened") {
            "there is no such file (a guest sees only what --dir gives it)".to_string()
        } else {
            text
        };
        Error::new(ErrorKind::Io, format!("{}: {text}", path.display()))
    };
    let mut file = std::fs::File::open(path).map_err(about)?;
    // std::fs::read would end the guest where there is no memory. A little more than the size, for the end to
    // be found without growing.
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let size = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(64);
    let mut data = room(size, "the file").map_err(|error| error.about(path.display()))?;
    file.read_to_end(&mut data).map_err(about)?;
    Ok(data)
}
