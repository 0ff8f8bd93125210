//! Programs of type SYSCALL out of the object, which aya does not load: relocated against the maps that the XDP program
//! has, loaded by `bpf(2)`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya_obj::Object;

use super::sys;

/// Loads `program` of the object, with its maps at `map_fd`, under the name that `bpftool` shows.
///
/// # Errors
/// Where the kernel refuses the program or its BTF (5.15 or newer is needed).
pub fn load(
    object: &[u8],
    program: &str,
    shown: &str,
    map_fd: impl Fn(&str) -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    let other = |error: &dyn std::fmt::Display| io::Error::other(format!("{program}: {error}"));
    let mut object = Object::parse(object).map_err(|e| other(&e))?;
    let features = aya::features();
    let btf = match features.btf() {
        Some(btf) => object
            .fixup_and_sanitize_btf(btf)
            .map_err(|e| other(&e))?
            .map(|btf| btf.to_bytes()),
        None => None,
    }
    .ok_or_else(|| other(&"this kernel has no BTF, which callbacks need"))?;
    let btf = sys::load_btf(&btf).map_err(|e| other(&format!("BTF refused: {e}")))?;
    let text_sections = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let mut maps = Vec::new();
    for (name, map) in &object.maps {
        let fd = map_fd(name).map_err(|error| other(&format!("map {name}: {error}")))?;
        maps.push((name.clone(), fd, map.clone()));
    }
    let fds = maps.iter().map(|(name, fd, map)| {
        use std::os::fd::AsRawFd;
        (name.as_str(), fd.as_raw_fd(), map)
    });
    let definition = object
        .programs
        .get(program)
        .ok_or_else(|| other(&"not in the object"))?
        .clone();
    object
        .relocate_maps(fds, &text_sections)
        .map_err(|e| other(&e))?;
    object
        .relocate_calls(&text_sections)
        .map_err(|e| other(&e))?;
    object.sanitize_functions(features);
    let function = object
        .functions
        .get(&definition.function_key())
        .ok_or_else(|| other(&"has no code"))?;
    sys::load_syscall_program(
        shown,
        &function.instructions,
        &function.func_info.func_info_bytes(),
        function.func_info_rec_size,
        btf.as_fd(),
    )
}
