// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Users of the machine who mean no good.

mod two_faced;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

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

/// Whether a callout has read so much that it can only be of a large executable.
fn is_hashing(callout: u32) -> bool {
    let told = fs::read_to_string(format!("/proc/{callout}/io")).unwrap_or_default();
    let read = told.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.is_some_and(|bytes| bytes.parse::<u64>().unwrap() > 16 << 20)
}

#[test]
fn a_program_that_is_replaced_while_it_is_hashed() {
    let (_tpm, rule) = rule();
    let new = rule.copy_of_keyctl("new");
    for change in ["nothing", "replace", "remove", "touch"] {
        let program = rule.copy_of_keyctl(change);
        let grown = Command::new("truncate")
            .args(["-s", "1G"])
            .arg(&program)
            .status();
        assert!(grown.unwrap().success());
        let asker = Asker {
            program: program.clone(),
            uid: Some(1000),
            ..Asker::default()
        };
        let description = rule.description(change);
        let asking = thread::spawn(move || asker.ask(description, "32 csum"));
        let callout = rule.wait_for_callout();
        while !is_hashing(callout) {
            assert!(
                !asking.is_finished(),
                "{change}: it was not seen to be read"
            );
            thread::sleep(Duration::from_millis(1));
        }
        match change {
            "replace" => fs::rename(&new, &program).unwrap(),
            "remove" => fs::remove_file(&program).unwrap(),
            // The content can't be written to while it runs; this is what would show it.
            "touch" => fs::set_permissions(&program, PermissionsExt::from_mode(0o555)).unwrap(),
            _ => {}
        }
        let answer = asking.join().unwrap();
        if change == "nothing" {
            assert_eq!(answer.unwrap().len(), 32);
        } else {
            assert_eq!(answer, errno("EACCES"), "{change}");
        }
        let _ = fs::remove_file(&program);
    }
    rule.assert_nothing_left();
}

/// A callout that does not start before a file is there.
fn held_back(directory: &Path) -> (Rule, PathBuf, tdk_simulator::Swtpm) {
    let tpm = golden::tpm();
    let (go, held) = (directory.join("go"), directory.join("held"));
    let script = format!(
        "#!/bin/sh\nuntil [ -e {} ]; do sleep 0.02; done\nexec {} \"$@\"\n",
        go.display(),
        programs::callout().display()
    );
    fs::write(&held, script).unwrap();
    fs::set_permissions(&held, PermissionsExt::from_mode(0o755)).unwrap();
    let config = format!("tcti = \"{}\"\n", tpm.tcti());
    (Rule::with_program(&held, &config), go, tpm)
}

#[test]
fn an_asker_that_is_killed_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (rule, go, _tpm) = held_back(directory.path());
    let mut asker = Command::new("/usr/bin/keyctl")
        .args(["request2", "user"])
        .arg(rule.description("x"))
        .args(["32 path", "@p"])
        .spawn()
        .unwrap();
    rule.wait_for_callout();
    asker.kill().unwrap();
    // It has been told, and is there all the same: its number is nobody else's.
    let status = || fs::read_to_string(format!("/proc/{}/status", asker.id())).unwrap();
    for _ in 0..20 {
        let status = status();
        assert!(status.contains("State:\tD"), "{status}");
        thread::sleep(Duration::from_millis(10));
    }
    let executable = fs::read_link(format!("/proc/{}/exe", asker.id())).unwrap();
    assert_eq!(executable, Path::new("/usr/bin/keyctl"));
    fs::write(&go, "").unwrap();
    let status = asker.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{status}");
    rule.assert_nothing_left();
}

/// Asks in a thread that the first one has left, and as a child that has its parent's
/// memory; each in a new session keyring. Writes the keys in hex.
const LEFT_ALONE: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char **words;

static int ask(void *unused)
{
	unsigned char bytes[32];
	long key;

	(void)unused;
	syscall(SYS_keyctl, 1, NULL);
	key = syscall(SYS_request_key, "user", words[2], "32 path", -3);
	if (key < 0 || syscall(SYS_keyctl, 11, key, bytes, 32) != 32)
		_exit(1);
	for (int i = 0; i < 32; i++)
		dprintf(1, "%02x", bytes[i]);
	return 0;
}

static void *thread(void *unused)
{
	usleep(300000);
	_exit(ask(unused));
}

int main(int count, char **given)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	pthread_t other;

	words = given;
	if (count == 3 && given[1][0] == 't') {
		pthread_create(&other, NULL, thread, NULL);
		pthread_exit(NULL);
	}
	clone(ask, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	wait(NULL);
	return 0;
}
"#;

#[test]
fn askers_that_are_left_alone() {
    let (tpm, rule) = rule();
    let source = rule.directory().join("left.c");
    let program = rule.directory().join("left");
    fs::write(&source, LEFT_ALONE).unwrap();
    let compiled = Command::new("cc")
        .args(["-pthread", "-o"])
        .args([&program, &source])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{compiled:?}");
    for way in ["thread", "vfork"] {
        let output = Command::new(&program)
            .arg(way)
            .arg(rule.description(way))
            .output()
            .unwrap();
        let name = program.to_str().unwrap();
        let request = Request::user(&rule.key_id(way), "32 path", 0, name);
        let expected = hex::encode(oracle::key(&tpm.tcti(), &request));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{way}");
    }
    rule.assert_nothing_left();
}

/// Maps a file whose name fills kilobytes again and again, below where the program is,
/// and asks, each time in a new session keyring.
const CROWDED: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **given)
{
	char name[256] = "", *place = (char *)0x10000000;
	int file;

	/* Each newline has four letters in the list. */
	memset(name, '\n', 255);
	for (int i = 0; i < 15; i++)
		if ((mkdir(name, 0755) && errno != EEXIST) || chdir(name))
			return 1;
	file = open("x", O_RDWR | O_CREAT, 0644);
	for (int i = atoi(given[1]); i > 0; i--, place += 8192)
		if (mmap(place, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, file, 0) != place)
			return 2;
	for (int i = 3; i < count; i++) {
		syscall(SYS_keyctl, 1, NULL);
		errno = 0;
		syscall(SYS_request_key, "user", given[2], given[i], -3);
		printf("%d\n", errno);
	}
	return 0;
}
"#;

#[test]
fn mappings_without_number() {
    let (_tpm, rule) = rule();
    let source = rule.directory().join("crowded.c");
    let program = rule.directory().join("crowded");
    fs::write(&source, CROWDED).unwrap();
    let compiled = Command::new("cc")
        .args(["-pie", "-fPIE", "-o"])
        .args([&program, &source])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{compiled:?}");
    let directory = rule.directory().join("deep");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::chown(&directory, Some(1000), Some(1000)).unwrap();
    let ask = |mappings: u32| {
        let output = Command::new("setpriv")
            .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
            .arg(&program)
            .arg(mappings.to_string())
            .arg(rule.description(mappings.to_string()))
            .args(["32 id", "32 cgroup", "32 path", "32 csum", "32 verity"])
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let errnos = text.lines().map(|line| line.parse().unwrap());
        errnos.collect::<Vec<i32>>()
    };
    // What this process is in, its children are.
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut paths = cgroup.lines().filter_map(|line| line.strip_prefix("0::"));
    let cgroup = if paths.any(|path| path != "/") { 0 } else { 13 };
    // No file here is under fs-verity.
    assert_eq!(ask(100), [0, cgroup, 0, 0, 13]);
    assert_eq!(ask(3000), [0, cgroup, 13, 13, 13]);
    rule.assert_nothing_left();
}
