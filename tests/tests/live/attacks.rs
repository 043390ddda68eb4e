// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Users of the machine who mean no good.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tdk_tests::live::{Asker, Killed, Rule, answer, errno};
use tdk_tests::oracle::{self, Request};
use tdk_tests::{golden, programs};

fn rule() -> (tdk_simulator::Swtpm, Rule) {
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    (tpm, rule)
}

/// Watches for requests of others, whose key numbers stand among the callout's
/// arguments, and plants lines that look like those of /proc/keys, in a key that
/// everybody can see.
const LIAR: &str = r#"
import ctypes, os, time
libc = ctypes.CDLL(None)
libc.syscall(250, 1, None, 0, 0, 0)
planted = set()
end = time.monotonic() + 60
while time.monotonic() < end:
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
        except OSError:
            continue
        if b"32 path" not in words or b"user" not in words:
            continue
        for word in set(filter(bytes.isdigit, words)) - planted:
            if int(word) < 1000000:
                continue
            planted.add(word)
            line = b"x\n0cdc2027 I------ 10 perm 1b010000 0 0 .request_ key:%x pid:1 ci:2\nz" % int(word)
            key = libc.syscall(248, b"user", line, b"x", 1, -3)
            libc.syscall(250, 5, key, 0x3f3f3f3f)
            print(word.decode(), flush=True)
"#;

#[test]
fn a_liar_of_another_user_keeps_nobody_from_a_key() {
    let tpm = golden::tpm();
    let config = format!("tcti = \"{}\"\n", tpm.tcti());
    // The callout, not before the lie is told about its key.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let told = directory.path().join("told");
    let slow = directory.path().join("slow");
    let script = format!(
        "#!/bin/sh\nuntil grep -qx \"$3\" {told}; do sleep 0.02; done\nexec {callout} \"$@\"\n",
        told = told.display(),
        callout = programs::callout().display(),
    );
    fs::write(&slow, script).unwrap();
    fs::set_permissions(&slow, PermissionsExt::from_mode(0o755)).unwrap();
    let rule = Rule::with_program(&slow, &config);

    let liar = Command::new("setpriv")
        .args(["--reuid", "1001", "--regid", "1001", "--clear-groups"])
        .args(["/usr/bin/python3", "-c", LIAR])
        .stdout(fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    let _liar = Killed(liar);
    let asker = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    for n in 0..3 {
        let name = n.to_string();
        let request = Request::user(&rule.key_id(&name), "32 path", 1000, "/usr/bin/keyctl");
        let key = asker.ask(rule.description(&name), "32 path").unwrap();
        assert_eq!(key, oracle::key(&tpm.tcti(), &request));
    }
    rule.assert_nothing_left();
}

/// A process of two threads of which the one that does not ask is traced.
const HALF_A_PUPPET: &str = r#"
import ctypes, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    def other():
        os.write(ready[1], threading.get_native_id().to_bytes(4, "little"))
        threading.Event().wait()
    threading.Thread(target=other, daemon=True).start()
    os.read(go[0], 1)
    key = libc.syscall(249, b"user", os.fsencode(sys.argv[1]), b"32 path", -3)
    os._exit(ctypes.get_errno() if key < 0 else 0)
thread = int.from_bytes(os.read(ready[0], 4), "little")
PTRACE_SEIZE = 0x4206
assert libc.ptrace(PTRACE_SEIZE, thread, 0, 0) == 0
os.write(go[1], b"x")
while True:
    # The traced thread has to be waited for as well before its process ends.
    pid, status = os.waitpid(-1, 0x40000000)
    if pid == child:
        sys.exit(os.waitstatus_to_exitcode(status))
"#;

#[test]
fn a_process_that_is_traced_in_another_thread() {
    let (_tpm, rule) = rule();
    let output = Command::new("keyctl")
        .args(["session", "-", "/usr/bin/python3", "-c", HALF_A_PUPPET])
        .arg(rule.description("x"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(13), "EACCES: {output:?}");
    rule.assert_nothing_left();
}

#[test]
fn a_file_that_would_keep_root_hashing() {
    let (_tpm, rule) = rule();
    let program = rule.copy_of_keyctl("large");
    let grown = Command::new("truncate")
        .args(["-s", "100G"])
        .arg(&program)
        .status();
    assert!(grown.unwrap().success());
    let asker = Asker {
        program,
        uid: Some(1000),
        ..Asker::default()
    };
    assert_eq!(asker.ask(rule.description("x"), "32 csum"), errno("EACCES"));
    assert!(asker.ask(rule.description("y"), "32 path").is_ok());
    rule.assert_nothing_left();
}

#[test]
fn a_path_that_is_longer_than_can_be_told() {
    let (_tpm, rule) = rule();
    let name = "d".repeat(200);
    let script = r#"
        cd "$1" && cp /usr/bin/keyctl . || exit 99
        n=0
        while [ $n -lt 25 ]; do mkdir "$2" && mv keyctl "$2" && cd -P "$2" || exit 99; n=$((n + 1)); done
        key=$(./keyctl request2 user "$3" "$4" @s) && exec keyctl pipe $key"#;
    for (n, info, expected) in [(0, "32 path", 0), (1, "32 csum", 32)] {
        let directory = rule.directory().join(n.to_string());
        fs::create_dir(&directory).unwrap();
        let output = Command::new("keyctl")
            .args(["session", "-", "bash", "-c", script, "bash"])
            .arg(&directory)
            .arg(&name)
            .arg(rule.description(n.to_string()))
            .arg(info)
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        match expected {
            0 => assert_eq!(answer(&output), errno("EACCES")),
            length => assert_eq!(answer(&output).unwrap().len(), length),
        }
    }
    rule.assert_nothing_left();
}
