// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whatever happens to the callout, the asker gets an answer.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tdk_tests::assert_no_handles;
use tdk_tests::golden;
use tdk_tests::live::{Asker, Rule, answer, errno};
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::programs;

/// A request that takes until something is done about it.
fn start(rule: &Rule) -> Child {
    let script = r#"key=$("$@" @s) && exec keyctl pipe $key"#;
    Asker::default()
        .command(script, &rule.description("x"), "32 path".as_ref())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// A TPM that hangs, and a callout that would wait for it for a minute.
fn hanging() -> (Middle, Rule) {
    let middle = Middle::alone(Action::Silence);
    let rule = Rule::direct(&format!(
        "tcti = \"{}\"\ndeadline_seconds = 60\n",
        middle.tcti()
    ));
    (middle, rule)
}

#[test]
fn signals() {
    for name in ["TERM", "INT", "HUP", "QUIT"] {
        let (middle, rule) = hanging();
        let begin = Instant::now();
        let asking = start(&rule);
        let callout = rule.wait_for_callout();
        while middle.seen().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(callout, name);
        let output = asking.wait_with_output().unwrap();
        assert_eq!(answer(&output), errno("EAGAIN"), "{name}");
        assert!(begin.elapsed() < Duration::from_secs(30));
        rule.assert_nothing_left();
    }
}

#[test]
fn a_signal_leaves_no_handle_in_the_tpm() {
    // The TPM takes its time for TPM2_HMAC: the signal comes in between.
    let tpm = golden::tpm();
    let middle = Middle::before(&tpm, |command, _| {
        if command == cc::HMAC {
            std::thread::sleep(Duration::from_millis(500));
        }
        Action::Pass
    });
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", middle.tcti()));
    let asking = start(&rule);
    while !middle.seen().contains(&cc::HMAC) {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(rule.wait_for_callout(), "TERM");
    let output = asking.wait_with_output().unwrap();
    assert_eq!(answer(&output), errno("EAGAIN"));
    rule.assert_nothing_left();
    assert_no_handles(&tpm);
}

#[test]
fn killed() {
    let (middle, rule) = hanging();
    let asking = start(&rule);
    let callout = rule.wait_for_callout();
    while middle.seen().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(callout, "KILL");
    let output = asking.wait_with_output().unwrap();
    // The kernel's own answer; nobody is left to give another.
    assert_eq!(answer(&output), errno("ENOKEY"));
    rule.assert_nothing_left();
}

#[test]
fn an_asker_that_is_killed() {
    let (middle, rule) = hanging();
    rule.configure(&format!(
        "tcti = \"{}\"\ndeadline_seconds = 1\n",
        middle.tcti()
    ));
    let mut asking = start(&rule);
    rule.wait_for_callout();
    signal(asking.id(), "KILL");
    asking.wait().unwrap();
    rule.assert_nothing_left();
}

#[test]
fn a_panic() {
    let rule = Rule::with_program(&programs::panicking_callout(), "");
    assert_eq!(rule.ask("x", "32 path"), errno("EKEYREJECTED"));
    rule.assert_nothing_left();
}

#[test]
fn a_line_that_is_wrong() {
    for arguments in [
        "%k %t %d %c %u %g",
        "%k",
        "x %t %d %c %u %g %S",
        "--verbose",
    ] {
        let rule = Rule::with_arguments(arguments);
        assert_eq!(
            rule.ask("x", "32 path"),
            errno("EKEYREJECTED"),
            "{arguments}"
        );
        rule.assert_nothing_left();
    }
}

#[test]
fn a_configuration_that_can_not_be_used() {
    let tpm = golden::tpm();
    let rule = Rule::direct("tctii = 1\n");
    assert_eq!(rule.ask("malformed", "32 path"), errno("EKEYREJECTED"));
    fs::remove_file(rule.config_file()).unwrap();
    assert_eq!(rule.ask("missing", "32 path"), errno("EKEYREJECTED"));
    fs::create_dir(rule.config_file()).unwrap();
    assert_eq!(rule.ask("directory", "32 path"), errno("EKEYREJECTED"));
    fs::remove_dir(rule.config_file()).unwrap();
    std::os::unix::fs::symlink("config.toml", rule.config_file()).unwrap();
    assert_eq!(rule.ask("unreadable", "32 path"), errno("EKEYREJECTED"));
    fs::remove_file(rule.config_file()).unwrap();
    rule.configure(&format!("tcti = \"{}\"\n", tpm.tcti()));
    assert!(rule.ask("right", "32 path").is_ok());
    rule.assert_nothing_left();
}

#[test]
fn nothing_of_it_can_be_dumped() {
    let (middle, rule) = hanging();
    let asking = start(&rule);
    let callout = rule.wait_for_callout();
    while middle.seen().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let limits = fs::read_to_string(format!("/proc/{callout}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_ascii_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);
    for secret in ["mem", "environ", "maps"] {
        let file = format!("/proc/{callout}/{secret}");
        let status = Command::new("setpriv")
            .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
            .args(["head", "-c", "1", &file])
            .output()
            .unwrap();
        assert!(!status.status.success(), "{file}");
    }
    signal(callout, "TERM");
    let _ = asking.wait_with_output();
    rule.assert_nothing_left();
}

#[test]
fn by_hand_it_only_says_what_it_is_for() {
    let run = |arguments: &[&str]| {
        Command::new(programs::callout())
            .args(arguments)
            .output()
            .unwrap()
    };
    let help = programs::stdout(&run(&["--help"]));
    assert!(help.contains("/etc/request-key.d/tpm2-derived.conf"));
    assert!(programs::stdout(&run(&["--version"])).starts_with("key.tpm2_derived "));
    assert!(programs::stderr(&run(&[]), 2).contains("/sbin/request-key"));
    let pipe = ["user", "tpm2:derived:x", "32 path", "0", "0"];
    assert!(programs::stderr(&run(&pipe), 2).contains("/sbin/request-key"));
    let direct = [&["77"], &pipe[..], &["0"]].concat();
    assert!(programs::stderr(&run(&direct), 2).contains("no authority"));
}
