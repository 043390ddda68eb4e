// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What documents say of tests.

use std::fs;
use std::path::Path;

use tdk_tests::{programs, project};

/// What is meant by a name, `BINARY::MODULE::FUNCTION`. Modules may be in modules.
#[derive(Debug, PartialEq)]
enum Named {
    Module,
    Function,
}

fn find(name: &str) -> Option<Named> {
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
        return None;
    }
    let is_impostor = |name| {
        let script = format!("tests/src/impostors/{name}.sh");
        module == "identity" && project().join(script).exists()
    };
    let Some(function) = parts.next() else {
        return Some(Named::Module);
    };
    let there = text.contains(&format!("fn {function}(")) || is_impostor(function);
    (there && parts.next().is_none()).then_some(Named::Function)
}

/// Whether a package has a test in whose name this is.
fn package_has(package: &str, part: &str) -> bool {
    let directory = match package {
        "tpm-derived-keys" => "derive",
        "tdk-request-key" => "callout/request-key",
        other => panic!("where is {other}?"),
    };
    let output = programs::run(
        "grep",
        &[
            "-rqE",
            "--include=*.rs",
            &format!("^ *fn [a-z0-9_]*{part}[a-z0-9_]*\\(\\) "),
            project().join(directory).to_str().unwrap(),
        ],
    );
    output.status.success()
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
        assert!(
            find(name).is_some(),
            "docs/threats.md: there is no test {name}"
        );
    }
    let commands = text.split('`').filter_map(|words| {
        let (package, part) = words.strip_prefix("cargo test -p ")?.split_once(' ')?;
        (package != "tdk-tests").then_some((package, part))
    });
    for (package, part) in commands {
        let there = package_has(package, part);
        assert!(there, "docs/threats.md: {package} has no test {part}");
    }
}

#[test]
fn each_row_of_threats_names_the_functions_that_show_it() {
    let text = fs::read_to_string(project().join("docs/threats.md")).unwrap();
    let cells = |line: &str| line.split(" | ").map(str::to_owned).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<_> = rows.map(cells).collect();
    assert!(rows.len() > 60, "{}", rows.len());
    for row in rows {
        let [who, _, seen] = &row[..] else {
            panic!("docs/threats.md: {row:?}");
        };
        if who == "| Who tries what" {
            continue;
        }
        let mut named = 0;
        for word in seen.split('`').skip(1).step_by(2) {
            let module = find(word) == Some(Named::Module);
            assert!(!module, "docs/threats.md: {word} is a module");
            named += 1;
        }
        assert!(
            named > 0 || seen.starts_with("the same"),
            "docs/threats.md: {row:?}"
        );
    }
}
