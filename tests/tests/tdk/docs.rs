// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What documents say of tests.

use std::fs;
use std::path::Path;

use tdk_tests::project;

/// Whether there is such a test, `BINARY::MODULE::FUNCTION`, or such a module. Modules may be
/// in modules.
fn exists(name: &str) -> bool {
    let mut parts = name.split("::").peekable();
    let mut place = project().join("tests/tests");
    place.extend(parts.next());
    let mut module = "";
    // A module has a file of its own, or a directory.
    let is_module = |place: &Path| place.is_dir() || place.with_extension("rs").exists();
    while let Some(part) = parts.next_if(|part| is_module(&place.join(part))) {
        place.push(part);
        module = part;
    }
    let mut files = vec![place.with_extension("rs")];
    files.extend(
        fs::read_dir(place)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path()),
    );
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let text: String = texts.collect();
    if module.is_empty() || text.is_empty() {
        return false;
    }
    let is_impostor = |name| {
        let script = format!("tests/src/impostors/{name}.sh");
        module == "identity" && project().join(script).exists()
    };
    parts.all(|function| text.contains(&format!("fn {function}(")) || is_impostor(function))
}

#[test]
fn tests_that_threats_names_exist() {
    let text = fs::read_to_string(project().join("docs/threats.md")).unwrap();
    let is_test = |word: &&str| {
        let binaries = ["live::", "guest::", "kernel::", "tpm::", "tdk::"];
        binaries.iter().any(|binary| word.starts_with(binary)) && !word.contains("::a::b")
    };
    let names: Vec<_> = text.split('`').filter(is_test).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(exists(name), "docs/threats.md: there is no test {name}");
    }
}
