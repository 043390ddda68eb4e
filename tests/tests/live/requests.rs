// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests that are not understood, or understood although they look odd.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use tdk_tests::assert_no_handles;
use tdk_tests::golden;
use tdk_tests::live::{Asker, Rule, errno};
use tdk_tests::malformed;
use tdk_tests::oracle::{self, Request};

fn rule() -> (tdk_simulator::Swtpm, Rule) {
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    (tpm, rule)
}

#[test]
fn malformed_callout_info() {
    let (tpm, rule) = rule();
    for (n, info) in malformed::callout_info().iter().enumerate() {
        let answer = Asker::default().ask(rule.description(n.to_string()), OsStr::from_bytes(info));
        assert_eq!(answer, errno("EINVAL"), "{}", info.escape_ascii());
    }
    rule.assert_nothing_left();
    assert_no_handles(&tpm);
}

#[test]
fn the_same_in_the_pipe_form() {
    let tpm = golden::tpm();
    let rule = Rule::pipe(&format!("tcti = \"{}\"\n", tpm.tcti()));
    assert_eq!(rule.ask("a", "32 paht"), errno("EINVAL"));
    assert_eq!(rule.ask("b", "1025 path"), errno("EINVAL"));
    assert_eq!(rule.ask("c", "32 path scope=any"), errno("EACCES"));
    rule.assert_nothing_left();
}

#[test]
fn askers_known_by_their_cgroup() {
    let (tpm, rule) = rule();
    let of_mine = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = of_mine.lines().find_map(|line| line.strip_prefix("0::"));
    // What asks is in the same cgroup as this program.
    let expected = match path {
        None | Some("/") => errno("EACCES"),
        Some(path) => {
            let mut request = Request::user("", "32 cgroup", 0, path);
            request.description = rule.description("x").as_bytes().to_vec();
            Ok(oracle::key(&tpm.tcti(), &request))
        }
    };
    assert_eq!(rule.ask("x", "32 cgroup"), expected, "{of_mine}");
    rule.assert_nothing_left();
}

#[test]
fn pairs_of_keys_in_both_forms() {
    let tpm = golden::tpm();
    let config = format!("tcti = \"{}\"\n", tpm.tcti());
    for rule in [Rule::direct(&config), Rule::pipe(&config)] {
        // The longest payload there is, and the shortest that is no raw key.
        for what in ["rsa4096", "ed25519"] {
            let info = format!("{what} path");
            let mut request = Request::user("", &info, 0, "/usr/bin/keyctl");
            request.description = rule.description(what).as_bytes().to_vec();
            let expected = oracle::key(&tpm.tcti(), &request);
            assert_eq!(rule.ask(what, &info).unwrap(), expected, "{what}");
        }
        rule.assert_nothing_left();
    }
}

#[test]
fn a_key_for_everybody_is_refused() {
    let (_tpm, rule) = rule();
    for info in [
        "32 id scope=any",
        "32 path scope=any",
        "32 csum gen=1 scope=any",
    ] {
        assert_eq!(rule.ask(info, info), errno("EACCES"), "{info}");
    }
    rule.assert_nothing_left();
}

#[test]
fn odd_key_ids_are_key_ids() {
    let (tpm, rule) = rule();
    // What the rule's own prefix leaves of 255 bytes.
    let rest = 255 - rule.key_id("").len();
    let longest = "k".repeat(rest);
    for name in [
        &b"with blanks in it"[..],
        b"a;b",
        b"two\nlines",
        b"\xff\xfe",
        b"%k %d",
        b"*",
        b"-",
        b"'\"\\$(id)",
        longest.as_bytes(),
    ] {
        let description = rule.description(name);
        let mut request = Request::user("", "32 path", 0, "/usr/bin/keyctl");
        request.description = description.as_bytes().to_vec();
        assert_eq!(
            Asker::default().ask(&description, "32 path").unwrap(),
            oracle::key(&tpm.tcti(), &request),
            "{}",
            name.escape_ascii()
        );
    }
    assert_eq!(rule.ask(&(longest + "k"), "32 path"), errno("EINVAL"));
    rule.assert_nothing_left();
}

#[test]
fn key_types_that_are_not_made() {
    let (_tpm, rule) = rule();
    for (key_type, info) in [
        ("keyring", "32 path"),
        ("asymmetric", "p256 path"),
        ("asymmetric", "p384 path"),
        ("asymmetric", "ed25519 path"),
        ("asymmetric", "1025 path"),
    ] {
        let asker = Asker {
            key_type,
            ..Asker::default()
        };
        // A kernel without the type, or one that makes no such keys on request,
        // has its own way of saying no.
        let answer = asker.describe(rule.description(info), info);
        let refused = ["EINVAL", "ENOKEY", "EPERM"].map(errno);
        assert!(refused.contains(&answer), "{key_type}: {answer:?}");
    }
    rule.assert_nothing_left();
}

#[test]
fn descriptions_that_are_not_ours_never_get_here_but_would_be_refused() {
    // By a line that catches more than it should.
    let tpm = golden::tpm();
    let rule = Rule::catching_strangers(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let answer = Asker::default().ask(rule.key_id("x"), "32 path");
    assert_eq!(answer, errno("EINVAL"));
    rule.assert_nothing_left();
}
