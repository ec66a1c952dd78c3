//! Checks that the modules of `src` depend on each other in one direction.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The top-level modules of `src`, the lowest first. Each may use those of earlier lines, but no other of its own line.
const LAYERS: [&[&str]; 12] = [
    &["error"],
    &["memory", "threads", "simd"],
    &["shape", "options"],
    &["reference", "gemm"],
    &["cell"],
    &["rnn"],
    &["train", "sessions"],
    &["gru"],
    &["gru_ndarray", "files"],
    &["model"],
    &["python"],
    &[""], // lib.rs
];

/// Returns the modules of `src` by path (`rnn::stream`), with their source up to the tests.
fn modules() -> BTreeMap<String, String> {
    fn collect(folder: &Path, path: &[String], modules: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let own = [path, std::slice::from_ref(&name)].concat();
            if file.is_dir() {
                collect(&file, &own, modules);
            } else {
                let module = if name == "mod" || name == "lib" { path.join("::") } else { own.join("::") };
                let source = fs::read_to_string(&file).unwrap();
                modules.insert(module, source.split("#[cfg(test)]").next().unwrap().to_owned());
            }
        }
    }
    let mut modules = BTreeMap::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut modules);
    modules
}

/// Expands `a::{b, c::{d}}` to `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, group)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().to_owned()];
    };
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in group[..group.rfind('}').unwrap()].chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if letter == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(letter);
        }
    }
    parts.iter().flat_map(|part| expand(&format!("{prefix}{}", part.trim()))).collect()
}

/// Returns every path in a source that may name another module.
fn paths(source: &str) -> Vec<String> {
    let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let uses = code.split("use ").skip(1).map(|rest| rest.split(';').next().unwrap());
    let inline = code.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        format!("crate::{}", &rest[..end])
    });
    uses.flat_map(expand).chain(inline).collect()
}

/// Returns the module that a path in the module `from` refers to.
fn resolve(path: &str, from: &str, modules: &BTreeMap<String, String>) -> Option<String> {
    let mut base: Vec<&str> = from.split("::").filter(|part| !part.is_empty()).collect();
    let mut rest: Vec<&str> = path.split("::").map(str::trim).filter(|part| !part.is_empty()).collect();
    match *rest.first()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
            while rest.get(1) == Some(&"super") {
                rest.remove(0);
                base.pop();
            }
        }
        first => {
            let child = [&base[..], &[first]].concat().join("::");
            modules.get(&child)?;
            rest.insert(0, "self");
        }
    }
    let mut whole = [&base[..], &rest[1..]].concat();
    while !whole.is_empty() && !modules.contains_key(&whole.join("::")) {
        whole.pop();
    }
    Some(whole.join("::")).filter(|to| to != from && !to.is_empty())
}

/// Returns the modules that each module uses.
fn uses(modules: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<String>> {
    let of = |from: &str, source| paths(source).iter().filter_map(|path| resolve(path, from, modules)).collect();
    modules.iter().map(|(from, source)| (&**from, of(from, source))).collect()
}

#[test]
fn modules_use_only_lower_layers() {
    let top = |module: &str| module.split("::").next().unwrap().to_owned();
    let layer = |module: &str| {
        LAYERS
            .iter()
            .position(|layer| layer.contains(&&*top(module)))
            .unwrap_or_else(|| panic!("{module} is not in LAYERS"))
    };
    let modules = modules();
    let uses = uses(&modules);
    assert!(uses["rnn::stream"].contains("cell::step"), "no imports were found");
    for (from, targets) in uses {
        for to in targets {
            assert!(top(from) == top(&to) || layer(from) > layer(&to), "{from} uses {to}, which is not below it");
        }
    }
}

#[test]
fn there_are_no_circular_dependencies() {
    let modules = modules();
    let mut left = uses(&modules);
    // Remove modules that use none of the remaining ones, until only circles remain.
    while let Some(leaf) = left.iter().find(|(_, to)| to.iter().all(|to| !left.contains_key(&**to))).map(|(m, _)| *m) {
        left.remove(leaf);
    }
    assert!(left.is_empty(), "circular dependencies among {left:#?}");
}
