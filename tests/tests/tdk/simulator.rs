// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `docs/simulator.md`, typed as it is there.

use std::process::Command;

use tdk_tests::programs::{self, stdout};
use tdk_tests::transcript;

#[test]
fn what_the_page_shows() {
    let dist = programs::tdk_sim();
    let dist = dist.parent().unwrap().display();
    let parts = transcript::parts("docs/simulator.md");
    assert_eq!(parts.len(), 2);
    for part in parts {
        let directory = tempfile::tempdir().unwrap();
        // Where a guest would keep what was typed and said.
        let script = part
            .script(None)
            .replace("/run/", &format!("{}/", directory.path().display()));
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(&directory)
            .env("PATH", format!("{dist}:{}", std::env::var("PATH").unwrap()))
            .output()
            .unwrap();
        part.compare(&(stdout(&output) + "\n"));
    }
}
