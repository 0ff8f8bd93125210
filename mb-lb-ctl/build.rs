//! Builds the eBPF program that the controller embeds (`MB_LB_EBPF_OBJECT` is the path of the object).

#[path = "../xtask/src/ebpf.rs"]
mod ebpf;

use std::env;
use std::path::PathBuf;

const WATCHED: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "mb-lb-common/Cargo.toml",
    "mb-lb-common/src",
    "mb-lb-ebpf/Cargo.toml",
    "mb-lb-ebpf/src",
    "xtask/src/ebpf.rs",
];

fn main() {
    let directory = |name| {
        PathBuf::from(env::var_os(name).expect("cargo sets the directories of a build script"))
    };
    let mut root = directory("CARGO_MANIFEST_DIR");
    root.pop();
    for path in WATCHED {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    match ebpf::build(&root, &directory("OUT_DIR").join("mb-lb.bpf.o")) {
        Ok(object) => {
            println!("cargo::rustc-env=MB_LB_EBPF_OBJECT={}", object.display());
        }
        // Fails the build as well; a failing exit code would bury the lines under cargo's own.
        Err(why) => {
            for line in why.lines() {
                println!("cargo::error={line}");
            }
        }
    }
}
