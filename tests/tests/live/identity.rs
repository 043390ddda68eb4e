// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Askers who are not, or might not be, who they seem to be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tdk_tests::golden;
use tdk_tests::live::{Asker, Rule, answer, errno};
use tdk_tests::oracle::{self, Request};

fn rule() -> (tdk_simulator::Swtpm, Rule) {
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    (tpm, rule)
}

/// Runs a shell script as root in a session keyring of its own; `$1` is the
/// program that asks, `$2` the description.
fn script(rule: &Rule, script: &str, program: &str, name: &str) -> std::process::Output {
    Command::new("keyctl")
        .args(["session", "-", "sh", "-c", script, "sh", program])
        .arg(rule.description(name))
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

/// A program that waits for its standard input to end before it asks: time to
/// do something to its file.
const LATE: &str = r#"
import ctypes, os, sys
description, info = (os.fsencode(a) for a in sys.argv[1:3])
print("ready", flush=True)
sys.stdin.read()
libc = ctypes.CDLL(None, use_errno=True)
key = libc.syscall(249, b"user", description, info, -3)
if key < 0:
    print("request_key: " + os.strerror(ctypes.get_errno()), file=sys.stderr)
    sys.exit(1)
buffer = ctypes.create_string_buffer(1024)
length = libc.syscall(250, 11, key, buffer, 1024)
sys.stdout.buffer.write(buffer.raw[:length])
"#;

/// Asks from a copy of the Python interpreter, after `change` has been run on
/// that copy.
fn ask_late(rule: &Rule, name: &str, info: &str, copy: &str, change: &str) -> (Vec<u8>, String) {
    let path = rule.directory().join(copy);
    let interpreter = fs::canonicalize("/usr/bin/python3").unwrap();
    let copied = Command::new("cp").arg(interpreter).arg(&path).status();
    assert!(copied.unwrap().success());
    let script = r#"
        mkfifo "$5.in" "$5.out"
        "$5" -S -c "$1" "$2" "$3" <"$5.in" >"$5.out" 2>"$5.err" &
        exec 3>"$5.in" 4<"$5.out"
        read ready <&4
        (eval "$4") || exit 99
        exec 3>&-
        cat <&4
        cat "$5.err" >&2
        wait $!"#;
    let output = Command::new("keyctl")
        .args(["session", "-", "sh", "-c", script, "sh", LATE])
        .arg(rule.description(name))
        .args([info, change])
        .arg(&path)
        .env("LC_ALL", "C")
        .env("PYTHONHOME", "/usr")
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(99), "{output:?}");
    match answer(&output) {
        Ok(key) => (key, String::new()),
        Err(errno) => (Vec::new(), errno),
    }
}

#[test]
fn an_executable_that_changes_before_it_asks() {
    let (_tpm, rule) = rule();
    let refused = |(key, errno): (Vec<u8>, String)| {
        assert!(key.is_empty());
        errno
    };
    // Unharmed, it gets its key: so what follows is about the changes.
    let (key, errno) = ask_late(&rule, "0", "32 path", "unharmed", "true");
    assert_eq!((key.len(), errno.as_str()), (32, ""));
    for (n, info) in ["32 path", "32 csum"].into_iter().enumerate() {
        let late = |what: &str, copy: &str, change: &str| {
            refused(ask_late(
                &rule,
                &format!("{what}{n}"),
                info,
                &format!("{copy}{n}"),
                change,
            ))
        };
        assert_eq!(late("a", "deleted", r#"rm "$5""#), "EACCES");
        assert_eq!(
            late("b", "replaced", r#"cp "$5" "$5.x"; mv "$5.x" "$5""#),
            "EACCES"
        );
        assert_eq!(
            late("c", "linked", r#"ln "$5" "$5.x"; rm "$5"; cp "$5.x" "$5""#),
            "EACCES"
        );
    }
    rule.assert_nothing_left();
}

#[test]
fn an_executable_called_deleted() {
    let (_tpm, rule) = rule();
    let asker = Asker {
        program: rule.copy_of_keyctl("x (deleted)"),
        ..Asker::default()
    };
    for (name, info) in [("a", "32 path"), ("b", "32 csum")] {
        assert_eq!(asker.ask(rule.description(name), info), errno("EACCES"));
    }
    // Who it is does not matter to this one.
    assert!(asker.ask(rule.description("c"), "32 id").is_ok());
    rule.assert_nothing_left();
}

#[test]
fn a_link_is_not_a_name() {
    let (tpm, rule) = rule();
    let link = rule.directory().join("link");
    std::os::unix::fs::symlink("/usr/bin/keyctl", &link).unwrap();
    let asker = Asker {
        program: link,
        ..Asker::default()
    };
    let request = Request::user(&rule.key_id("x"), "32 path", 0, "/usr/bin/keyctl");
    assert_eq!(
        asker.ask(rule.description("x"), "32 path").unwrap(),
        oracle::key(&tpm.tcti(), &request)
    );
}

#[test]
fn a_borrowed_path() {
    let (tpm, rule) = rule();
    let program = rule.copy_of_keyctl("program");
    let program = program.to_str().unwrap();
    // In a mount namespace of its own, the program is what /usr/bin/passwd is.
    let borrow = r#"
        exec unshare --mount sh -c '
            mount --bind "$1" /usr/bin/passwd &&
            key=$(/usr/bin/passwd request2 user "$2" "32 path" @s) && exec keyctl pipe $key
        ' sh "$1" "$2""#;
    let output = script(&rule, borrow, program, "borrowed");
    assert_eq!(answer(&output), errno("EACCES"));

    // By checksum there is nothing to borrow.
    let output = script(
        &rule,
        &borrow.replace("32 path", "32 csum"),
        program,
        "csum",
    );
    assert!(answer(&output).is_ok());

    // Through another name of the same directory, the canonical one counts.
    let alias = rule.directory().join("alias");
    std::os::unix::fs::symlink(rule.directory(), &alias).unwrap();
    let script_text = r#"
        exec unshare --mount sh -c '
            mount --bind "$(dirname "$1")" "$(dirname "$1")/alias/." &&
            key=$("$1" request2 user "$2" "32 path" @s) && exec keyctl pipe $key
        ' sh "$1" "$2""#;
    let output = script(&rule, script_text, program, "alias");
    let request = Request::user(&rule.key_id("alias"), "32 path", 0, program);
    assert_eq!(answer(&output).unwrap(), oracle::key(&tpm.tcti(), &request));
    rule.assert_nothing_left();
}

#[test]
fn another_user_namespace() {
    let (_tpm, rule) = rule();
    for (name, info) in [("a", "32 path"), ("b", "32 csum"), ("c", "32 id")] {
        let asker = Asker {
            through: &["unshare", "--user"],
            ..Asker::default()
        };
        assert_eq!(asker.ask(rule.description(name), info), errno("EACCES"));
    }
    rule.assert_nothing_left();
}

#[test]
fn somebodys_puppet() {
    let (_tpm, rule) = rule();
    let puppet = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0:
    assert libc.ptrace(0, 0, 0, 0) == 0
    key = libc.syscall(249, b"user", os.fsencode(sys.argv[1]), b"32 path", -3)
    os._exit(ctypes.get_errno() if key < 0 else 0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;
    let output = script(&rule, r#"exec /usr/bin/python3 -c "$1" "$2""#, puppet, "x");
    assert_eq!(output.status.code(), Some(13), "EACCES: {output:?}");
    rule.assert_nothing_left();
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
        keyctl add user "$2" planted @s >/dev/null &&
        key=$("$1" request2 user "$2" "32 path" @s) && exec keyctl pipe $key"#;
    let output = script(&rule, plant, "/usr/bin/keyctl", "x");
    assert_eq!(answer(&output).unwrap(), b"planted");
}
