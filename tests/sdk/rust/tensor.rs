// SPDX-License-Identifier: Apache-2.0
//! The tensors that the SDK makes of pictures: `tensor JSON PICTURE [JSON PICTURE...]`, each JSON the contract
//! of an input, or @FILE. Writes each tensor's size (4 bytes, little-endian) and its bytes; a size of 0 for
//! one that is refused, with a line on stderr.

use std::io::Write;
use std::process::ExitCode;

use wasinn::json::Json;
use wasinn::{Error, ErrorKind, Image, InputContract, Tensor};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() || words.len() % 2 != 0 {
        eprintln!("usage: tensor JSON PICTURE [JSON PICTURE...]");
        std::process::exit(2); // an ExitCode of Rust 1.63 is 0 or 1 here
    }
    let mut code = ExitCode::SUCCESS;
    let mut out = std::io::stdout();
    for pair in words.chunks_exact(2) {
        let bytes = match make(&pair[0], &pair[1]) {
            Ok(tensor) => tensor.into_bytes(),
            Err(error) => {
                // Of a picture's own error the path is the beginning already.
                let text = error.to_string();
                let path = format!("{}: ", pair[1]);
                eprintln!("{path}{}", text.strip_prefix(&path).unwrap_or(&text));
                code = ExitCode::FAILURE;
                Vec::new()
            }
        };
        let size = (bytes.len() as u32).to_le_bytes();
        if out.write_all(&size).and_then(|()| out.write_all(&bytes)).and_then(|()| out.flush()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    code
}

fn make(contract: &str, picture: &str) -> wasinn::Result<Tensor> {
    let contract = match contract.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| Error::new(ErrorKind::Io, format!("{file}: {error}")))?,
        None => contract.to_string(),
    };
    InputContract::from_json(&Json::parse(&contract)?)?.tensor(&Image::open(picture)?)
}
