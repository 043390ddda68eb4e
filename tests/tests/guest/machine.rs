// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A script that fails is told from a machine that fails.

use std::process::{Command, Output};
use std::time::Duration;

use tdk_simulator::guest::{Guest, GuestError};
use tdk_tests::programs;

#[test]
fn what_a_script_did() {
    let script = "echo out; echo err >&2; ls /dev | grep tpm; printf end; exit 3";
    let run = Guest::builder().without_tpm().script(script).run().unwrap();
    assert_eq!(run.status, 3);
    assert_eq!(run.stdout, b"out\nend");
    assert_eq!(run.stderr, b"err\n");
    assert!(run.kernel_log.contains("Linux version 6.12."));
    assert!(run.state.is_none());
}

#[test]
fn what_became_of_a_machine() {
    let crash = "echo c >/proc/sysrq-trigger; sleep 60";
    let error = Guest::builder().script(crash).run().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, GuestError::Died { .. }), "{text}");
    assert!(text.contains("Kernel panic - not syncing: sysrq"), "{text}");
    assert!(text.contains("the end of its console:\n"), "{text}");

    let limit = Duration::from_secs(1);
    let guest = Guest::builder().script("sleep 60").time_limit(limit);
    let text = guest.run().unwrap_err().to_string();
    assert!(text.starts_with("the guest was stopped after 1s"), "{text}");
}

fn tdk_sim(arguments: &[&str], script: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    Command::new(programs::tdk_sim())
        .arg("guest")
        .args(arguments)
        .arg("--script")
        .arg(file.path())
        .output()
        .unwrap()
}

#[test]
fn by_hand() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().to_str().unwrap();
    // The callout is there, as the one beside tdk-sim.
    let script = r#"
        test -c /dev/tpmrm0 && cat /root/file &&
        keyctl session - sh -c 'keyctl print $(keyctl request2 user tpm2:derived:x "8 id" @s)'
        exit 7"#;
    let ask = || {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/root:/root/file");
        let arguments = ["--kernel", "6.1", "--state", dir, "--file", file];
        let output = tdk_sim(&arguments, script);
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let output = ask();
    let (file, key) = output.split_once('\n').unwrap();
    assert_eq!(file, tdk_tests::golden::root());
    assert_eq!(key.trim_end().len(), ":hex:".len() + 16, "{output}");
    assert_eq!(ask(), output);

    let output = tdk_sim(&["--kernel", "/nonexistent"], "");
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "tdk-sim: kernel /nonexistent: there is no /nonexistent/vmlinuz: \
         name a directory with a vmlinuz\n"
    );
}
