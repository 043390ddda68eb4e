// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is in keyrings already, and what another program makes of a request.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tdk_tests::live::{Asker, File, Rule};
use tdk_tests::programs;
use tdk_tests::programs::{stderr, stdout};

use super::{Bench, in_session, run_as, script};

#[test]
fn planted_keys_are_passed_by() {
    let bench = Bench::new();
    let expected = hex::encode(bench.expected("x", 1000));
    let description = bench.rule.description("x").into_string().unwrap();
    let request = bench.request("x");
    let careless = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    for (keyring, plant) in [
        (
            "session",
            format!("keyctl add user {description} planted @s"),
        ),
        (
            "user",
            format!("keyctl link @u @s; keyctl add user {description} planted @u"),
        ),
    ] {
        // Not so who asks without care.
        let text = format!(r#"({plant}) >/dev/null; keyctl pipe $("$@" @s)"#);
        let command = careless.command(&text, description.as_ref(), "32 path".as_ref());
        let output = { command }.output().unwrap();
        assert_eq!(stdout(&output), "planted", "{keyring}");

        let text = format!(r#"({plant}) >/dev/null; exec "$@""#);
        let output = run_as(1000, &in_session(&text, &request));
        assert_eq!(stdout(&output), expected, "{keyring}");
    }
    // By somebody else, in a session keyring that both can write to.
    let text = format!(
        "keyctl setperm @s 0x3f3f3f3f; exec 3>&1; {{ setpriv --reuid 1001 --regid 1001 \
         --clear-groups keyctl add user {description} planted @s; }} >/dev/null; \
         keyctl setperm $(keyctl search @s user {description}) 0x3f3f3f3f; exec 3>&-; exec \"$@\""
    );
    let as_victim = [
        "setpriv",
        "--reuid",
        "1000",
        "--regid",
        "1000",
        "--clear-groups",
    ];
    let as_victim = [&as_victim.map(str::to_owned)[..], &request].concat();
    let output = run_as(0, &in_session(&text, &as_victim));
    assert_eq!(stdout(&output), expected);
    // In the keyring of the user, for a process without a session keyring.
    let plant = format!(
        r#"keyctl add user {description} planted @u >/dev/null; "$@"; keyctl unlink $(keyctl search @u user {description}) @u"#
    );
    let output = run_as(1000, &script(&plant, &request));
    assert!(stdout(&output).contains(&expected), "{output:?}");
    bench.rule.assert_nothing_left();
}

#[test]
fn old_refusals_are_passed_by() {
    let bench = Bench::new();
    let text = format!(
        r#"keyctl request2 user {} "32 paht" @s 2>/dev/null && exit 99; exec "$@""#,
        bench.rule.description("x").to_str().unwrap()
    );
    let output = run_as(1000, &in_session(&text, &bench.request("x")));
    assert_eq!(stdout(&output), hex::encode(bench.expected("x", 1000)));
}

#[test]
fn another_default_for_where_keys_go() {
    let bench = Bench::new();
    let expected = hex::encode(bench.expected("x", 1000));
    // KEYCTL_SET_REQKEY_KEYRING: thread, process, session, user, user session.
    let text = r"
import ctypes, os, sys
assert ctypes.CDLL(None).syscall(250, 14, int(sys.argv[1])) >= 0
os.execv(sys.argv[2], sys.argv[2:])
";
    for default in ["1", "2", "3", "4", "5"] {
        let python = ["/usr/bin/python3", "-c", text, default].map(str::to_owned);
        let output = run_as(1000, &[&python[..], &bench.request("x")].concat());
        assert_eq!(stdout(&output), expected, "{default}");
    }
}

#[test]
fn a_full_quota() {
    let bench = Bench::new();
    // Nobody else uses this user's.
    let text = r#"
        n=0
        while keyctl add user filler$n x @s; do n=$((n + 1)); done >/dev/null 2>&1
        exec "$@""#;
    let output = run_as(4007, &in_session(text, &bench.request("x")));
    let text = stderr(&output, 1);
    let end = text.lines().last().unwrap();
    assert_eq!(
        end,
        "tdk: this user's quota of keys is full (EDQUOT): see /proc/key-users, and raise \
         kernel.keys.maxkeys and maxbytes"
    );
    // When the keys have gone with their keyring, which takes the kernel a moment.
    let start = Instant::now();
    let output = loop {
        let output = run_as(4007, &bench.request("x"));
        if output.status.success() || start.elapsed() > Duration::from_secs(30) {
            break output;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(stdout(&output), hex::encode(bench.expected("x", 4007)));
}

#[test]
fn what_another_program_has_made_is_no_key() {
    let rule = Rule::direct("");
    let tdk = rule.copy_of(&programs::tdk_file(), "tdk");
    // A line that outranks the callout's.
    let key_id = rule.key_id("other");
    let _other = File::create(
        &format!("/etc/request-key.d/{key_id}.conf"),
        &format!(
            "create user tpm2:derived:{key_id} * /usr/bin/keyctl instantiate %k {} %S\n",
            "x".repeat(32)
        ),
    );
    let request = [
        tdk.to_str().unwrap(),
        "request",
        "--key-id",
        &key_id,
        "--what",
        "32",
        "--identity",
        "path",
    ]
    .map(str::to_owned);
    let text = stderr(&run_as(1000, &request), 1);
    assert!(
        text.starts_with(
            "tdk: the key was not made by the callout: it belongs to group 1000, not to root's: "
        ),
        "{text}"
    );
    // Of group root is all that root's other programs make; but it can be of the
    // wrong length.
    let longer = request.map(|word| if word == "32" { "33".into() } else { word });
    let text = stderr(&run_as(0, &longer), 1);
    assert!(
        text.starts_with("tdk: the key was not made by the callout: it has 32 bytes: "),
        "{text}"
    );
}

#[test]
fn a_callout_that_asks_for_itself() {
    // A program that request-key runs for somebody would find that asker's keys,
    // and be refused for not being the one who waits.
    let bench = Bench::new();
    let outer = bench.rule.key_id("outer-");
    let program = bench.rule.directory().join("outer.sh");
    let result = bench.rule.directory().join("result");
    let text = format!(
        "#!/bin/sh\n{} >{} 2>&1\nkeyctl instantiate $1 done 0\n",
        bench.request("x").join(" "),
        result.display(),
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let _outer = File::create(
        &format!("/etc/request-key.d/{outer}.conf"),
        &format!("create user {outer}* * {} %k\n", program.display()),
    );
    let text = format!(
        r#"keyctl add user {} planted @s >/dev/null; keyctl pipe $("$@" @s)"#,
        bench.rule.description("x").to_str().unwrap()
    );
    let asker = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    let asking = asker.command(&text, format!("{outer}x").as_ref(), "x".as_ref());
    assert_eq!(stdout(&{ asking }.output().unwrap()), "done");
    let result = fs::read_to_string(result).unwrap();
    assert_eq!(result.trim_end(), hex::encode(bench.expected("x", 0)));
    bench.rule.assert_nothing_left();
}

#[test]
fn keys_are_given_to_group_root() {
    let bench = Bench::new();
    let asker = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    let description = bench.rule.description("x");
    let run = |text: &str| {
        let output = asker
            .command(text, &description, "32 path".as_ref())
            .output();
        stdout(&output.unwrap())
    };
    let described = |text: &str| {
        let text = run(text);
        let (start, _) = text.split_once(";3f010000;").expect(&text);
        start.to_owned()
    };
    // The owner, who pays, remains.
    assert_eq!(described(r#"keyctl rdescribe $("$@" @s)"#), "user;1000;0");
    assert_eq!(
        described(r#"keyctl link @u @s; k=$("$@" @u); keyctl rdescribe $k; keyctl unlink $k @u"#),
        "user;1000;0"
    );
    // Who may do with it as with any key, but can't give it to root's group again.
    let text = r#"
        k=$("$@" @s)
        keyctl setperm $k 0x3f3f0000 && keyctl chgrp $k 1000 || exit 99
        keyctl chgrp $k 0 2>/dev/null && exit 98
        keyctl pipe $k >/dev/null && keyctl link $k @u && keyctl unlink $k @u &&
            keyctl timeout $k 100 && keyctl invalidate $k && echo all"#;
    assert_eq!(run(text), "all");
    // The kernel lets nobody change what the callout can't see.
    let text = r#"k=$("$@" @u); keyctl link @u @s; keyctl rdescribe $k; keyctl unlink $k @u"#;
    assert_eq!(described(text), "user;1000;1000");
    // A logon key, and the pipe form.
    let logon = Asker {
        key_type: "logon",
        ..asker.clone()
    };
    let described = logon.describe(&description, "32 path").unwrap();
    assert!(described.starts_with(b"logon;1000;0;"), "{described:?}");
    let pipe = Rule::pipe(&format!("tcti = \"{}\"\n", bench.tpm.tcti()));
    let described = asker.describe(pipe.description("x"), "32 path").unwrap();
    assert!(described.starts_with(b"user;1000;0;"), "{described:?}");
    bench.rule.assert_nothing_left();
}
