//! What the kernel holds of a director, as `bpftool` tells it: an eye and a hand beside the controller's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The pinned links below a director's BPF root.
///
/// # Errors
/// The pins cannot be read.
pub fn links(bpf_root: &Path) -> Result<Vec<PathBuf>> {
    let mut links: Vec<_> = all(bpf_root)?
        .into_iter()
        .filter(|path| name(path).starts_with("link-"))
        .collect();
    links.sort();
    Ok(links)
}

/// Everything that is pinned below a director's BPF root.
///
/// # Errors
/// The pins cannot be read.
pub fn all(bpf_root: &Path) -> Result<Vec<PathBuf>> {
    let list = |directory: &Path| -> Result<Vec<PathBuf>> {
        fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .with_context(|| format!("cannot read {}", directory.display()))
    };
    let mut found = Vec::new();
    for version in list(bpf_root)? {
        found.extend(list(&version)?);
    }
    Ok(found)
}

/// The pin of a map.
///
/// # Errors
/// There is not exactly one of that name.
pub fn map(bpf_root: &Path, map: &str) -> Result<PathBuf> {
    let mut found = all(bpf_root)?;
    found.retain(|path| name(path) == map);
    match found.as_slice() {
        [one] => Ok(one.clone()),
        other => bail!("{} maps of the name {map}", other.len()),
    }
}

/// Ids of a pinned link and of the program in it.
///
/// # Errors
/// `bpftool` cannot tell.
pub fn link_and_program(link: &Path) -> Result<(u64, u64)> {
    let told = bpftool(&["link", "show", "pinned", &link.display().to_string()])?;
    let id = |key: &str| {
        told[key]
            .as_u64()
            .with_context(|| format!("no {key}: {told}"))
    };
    Ok((id("id")?, id("prog_id")?))
}

/// The kernel's id of a pinned map.
///
/// # Errors
/// `bpftool` cannot tell.
pub fn map_id(bpf_root: &Path, name: &str) -> Result<u64> {
    let path = map(bpf_root, name)?;
    let told = bpftool(&["map", "show", "pinned", &path.display().to_string()])?;
    told["id"]
        .as_u64()
        .with_context(|| format!("no id: {told}"))
}

/// Key and value of every entry.
///
/// # Errors
/// `bpftool` cannot tell.
pub fn entries(bpf_root: &Path, name: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = map(bpf_root, name)?;
    let told = bpftool(&["map", "dump", "pinned", &path.display().to_string()])?;
    told.as_array()
        .with_context(|| format!("no list: {told}"))?
        .iter()
        .map(|entry| Ok((bytes(&entry["key"])?, bytes(&entry["value"])?)))
        .collect()
}

/// Writes an entry behind the controller's back.
///
/// # Errors
/// The kernel refuses.
pub fn update(bpf_root: &Path, name: &str, key: &[u8], value: &[u8]) -> Result<()> {
    let path = map(bpf_root, name)?.display().to_string();
    let (key, value) = (decimal(key), decimal(value));
    let mut arguments = vec!["map", "update", "pinned", &path, "key"];
    arguments.extend(key.iter().map(String::as_str));
    arguments.push("value");
    arguments.extend(value.iter().map(String::as_str));
    bpftool(&arguments).map(drop)
}

/// Deletes an entry behind the controller's back.
///
/// # Errors
/// The kernel refuses.
pub fn delete(bpf_root: &Path, name: &str, key: &[u8]) -> Result<()> {
    let path = map(bpf_root, name)?.display().to_string();
    let key = decimal(key);
    let mut arguments = vec!["map", "delete", "pinned", &path, "key"];
    arguments.extend(key.iter().map(String::as_str));
    bpftool(&arguments).map(drop)
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn decimal(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(ToString::to_string).collect()
}

/// `["0x01", "0xff"]`
fn bytes(list: &Value) -> Result<Vec<u8>> {
    list.as_array()
        .with_context(|| format!("no bytes: {list}"))?
        .iter()
        .map(|byte| {
            byte.as_str()
                .and_then(|text| u8::from_str_radix(text.strip_prefix("0x")?, 16).ok())
                .with_context(|| format!("no byte: {byte}"))
        })
        .collect()
}

/// Runs `bpftool` with JSON output; null where it prints nothing.
fn bpftool(arguments: &[&str]) -> Result<Value> {
    let output = Command::new("bpftool")
        .arg("--json")
        .args(arguments)
        .output()
        .context("cannot start bpftool")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "bpftool {}: {}{}",
            arguments.join(" "),
            text.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("bpftool printed no JSON: {text}"))
}
