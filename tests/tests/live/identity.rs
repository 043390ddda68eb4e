// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Askers who are not, or might not be, who they seem to be.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tdk_tests::golden;
use tdk_tests::impostors::Impostor;
use tdk_tests::live::{Asker, Rule, answer};

macro_rules! tests {
    ($($name:ident $uid:literal,)*) => {$(
        #[test]
        fn $name() {
            Impostor::named(stringify!($name)).try_here();
        }
    )*};
}
tdk_tests::impostors!(tests);

fn rule() -> (tdk_simulator::Swtpm, Rule) {
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    (tpm, rule)
}

#[test]
fn a_helper_that_asks_on_anothers_behalf() {
    // A program that request-key runs for uid 1000 is root; when it asks, the
    // kernel says root is asking, but the thread that waits is the user's.
    let (_tpm, rule) = rule();
    let outer = rule.key_id("outer-");
    let program = rule.directory().join("outer.sh");
    let result = rule.directory().join("result");
    fs::write(
        &program,
        format!(
            "#!/bin/sh\nLC_ALL=C keyctl request2 user {}x '32 path' @s >{result} 2>&1\n\
             keyctl instantiate $1 done 0\n",
            rule.description("").to_str().unwrap(),
            result = result.display(),
        ),
    )
    .unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let _outer = tdk_tests::live::File::create(
        &format!("/etc/request-key.d/{outer}.conf"),
        &format!("create user {outer}* * {} %k\n", program.display()),
    );
    let asker = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    let answer = asker.ask(format!("{outer}x"), "x").unwrap();
    assert_eq!(answer, b"done");
    let result = fs::read_to_string(result).unwrap();
    assert!(
        result.contains("request_key: Permission denied"),
        "{result}"
    );
    rule.assert_nothing_left();
}

#[test]
fn a_planted_key_is_returned_without_a_request() {
    // Not stopped, by anyone: docs/threats.md says so. The kernel does not ask
    // for a key that is there.
    let (_tpm, rule) = rule();
    let plant = r#"
        keyctl add user "$4" planted @s >/dev/null &&
        key=$("$@" @s) && exec keyctl pipe $key"#;
    let output = Asker::default()
        .command(plant, &rule.description("x"), "32 path".as_ref())
        .output()
        .unwrap();
    assert_eq!(answer(&output).unwrap(), b"planted");
}
