//! Builds the guest for WebAssembly and lets `wasinn run` run it.

use std::path::Path;
use std::process::Command;

/// The WASI target that this compiler has.
fn target() -> &'static str {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_string());
    let installed = |target: &&&str| {
        let done = Command::new(&compiler).args(["--print", "target-libdir", "--target", target]).output();
        done.map_or(false, |done| Path::new(String::from_utf8_lossy(&done.stdout).trim()).is_dir())
    };
    ["wasm32-wasip1", "wasm32-wasi"]
        .iter()
        .find(installed)
        .expect("no WASI target: rustup target add wasm32-wasip1, or apt-get install libstd-rust-dev-wasm32")
}

#[test]
fn the_guest_knows_a_seven() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    let built = Command::new(cargo).args(["build", "--release", "--target", target()]).status();
    assert!(built.expect("cargo can be started").success());
    let folder = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_string());
    let guest = Path::new(&folder).join(target()).join("release/@NAME@.wasm");
    let done = Command::new("wasinn")
        .args(["run", "--graph", "default=onnx:@digits", "--dir", "tests::/p"])
        .arg(guest)
        .arg("/p/seven.pgm")
        .output()
        .expect("wasinn can be started: pip install wasinn[onnx]");
    let (text, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{errors}");
    let best = text.lines().next().unwrap_or("");
    assert!(best.ends_with(" 7"), "{text}{errors}");
}
