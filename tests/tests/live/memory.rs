// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Nothing of a key is in the callout's memory when it exits, however it does.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tdk_simulator::Swtpm;
use tdk_tests::live::{Answer, Asker, Rule, answer, errno};
use tdk_tests::memory::Memory;
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::oracle::{Request, Secrets};
use tdk_tests::{golden, programs};

/// A TPM that answers nothing more, until it is told to.
struct Held {
    tpm: Swtpm,
    middle: Middle,
    reached: Receiver<()>,
    release: Sender<()>,
}

impl Held {
    /// Before the first command that comes when the TPM has answered to TPM2_HMAC,
    /// or else before the very first.
    fn new(after_hmac: bool) -> Self {
        let tpm = golden::tpm();
        let (reach, reached) = channel();
        let (release, released) = channel();
        let waiting = Arc::new(Mutex::new(Some(released)));
        let seen = Mutex::new(!after_hmac);
        let middle = Middle::before(&tpm, move |command, _| {
            let mut seen = seen.lock().unwrap();
            if *seen && let Some(released) = waiting.lock().unwrap().take() {
                reach.send(()).unwrap();
                let _ = released.recv();
            }
            *seen |= command == cc::HMAC;
            Action::Pass
        });
        Self {
            tpm,
            middle,
            reached,
            release,
        }
    }

    fn config(&self) -> String {
        format!("tcti = \"{}\"\ndeadline_seconds = 60\n", self.middle.tcti())
    }

    /// Until it is asked.
    fn wait(&self) {
        self.reached.recv_timeout(Duration::from_secs(30)).unwrap();
    }
}

fn ask(rule: &Rule, key_type: &'static str, info: &str) -> Child {
    let script = r#"key=$("$@" @s) && exec keyctl pipe $key"#;
    let asker = Asker {
        key_type,
        ..Asker::default()
    };
    asker
        .command(script, &rule.description("x"), info.as_ref())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn secrets(held: &Held, rule: &Rule, key_type: &str, info: &str) -> Secrets {
    let request = Request {
        key_type: key_type.into(),
        ..Request::user(&rule.key_id("x"), info, 0, "/usr/bin/keyctl")
    };
    Secrets::of(&held.tpm.tcti(), &request)
}

/// What is found of a key after a request that ends as requests do.
fn after(pipe: bool, key_type: &'static str, info: &str) -> (Vec<String>, Answer) {
    let held = Held::new(false);
    let rule = if pipe {
        Rule::pipe(&held.config())
    } else {
        Rule::direct(&held.config())
    };
    let (memory, answer) = memory_after(&held, &rule, key_type, info);
    (memory.find(&secrets(&held, &rule, key_type, info)), answer)
}

fn memory_after(held: &Held, rule: &Rule, key_type: &'static str, info: &str) -> (Memory, Answer) {
    let asking = ask(rule, key_type, info);
    held.wait();
    let memory = Memory::at_exit_of(rule.wait_for_callout(), || held.release.send(()).unwrap());
    let output = asking.wait_with_output().unwrap();
    rule.assert_nothing_left();
    (memory, answer(&output))
}

#[test]
fn nothing_of_a_key_is_left() {
    for pipe in [false, true] {
        for what in ["32", "1024", "p256", "ed25519", "rsa2048"] {
            let info = format!("{what} path");
            let (found, answer) = after(pipe, "user", &info);
            assert!(answer.is_ok(), "{answer:?}");
            assert!(found.is_empty(), "pipe {pipe}, {what}: {found:#?}");
        }
    }
    // Whether or not this kernel has a parser for it.
    let (found, _) = after(false, "asymmetric", "rsa2048 path");
    assert!(found.is_empty(), "asymmetric: {found:#?}");
}

/// The kernel frees what it has cached of /proc and nobody uses.
#[test]
fn nothing_is_left_when_caches_have_been_dropped() {
    let held = Held::new(false);
    let rule = Rule::direct(&held.config());
    let asking = ask(&rule, "user", "32 path");
    held.wait();
    let callout = rule.wait_for_callout();
    // What has just been used is spared once.
    for _ in 0..3 {
        fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    }
    let memory = Memory::at_exit_of(callout, || held.release.send(()).unwrap());
    let output = asking.wait_with_output().unwrap();
    assert!(answer(&output).is_ok(), "{output:?}");
    let found = memory.find(&secrets(&held, &rule, "user", "32 path"));
    assert!(found.is_empty(), "{found:#?}");
    rule.assert_nothing_left();
}

/// That would be found: a callout that wipes nothing, and forgets a copy.
#[test]
fn what_is_left_would_be_found() {
    for info in ["32 path", "rsa2048 path"] {
        let held = Held::new(false);
        let rule = Rule::with_program(&programs::forgetful_callout(), &held.config());
        let (memory, answer) = memory_after(&held, &rule, "user", info);
        let found = memory.find(&secrets(&held, &rule, "user", info));
        assert!(answer.is_ok(), "{answer:?}");
        assert!(!found.is_empty(), "{info}");
    }
}

/// So would what this program leaves by itself: one that differs from the callout in
/// nothing but what it does about its memory, which is not overwritten in the end. (Compilers may lay
/// secrets on the stack for one kind of key and not for another.)
#[test]
fn what_is_not_overwritten_would_be_found() {
    let mut all = Vec::new();
    for what in ["32", "1024", "p256", "ed25519", "rsa2048"] {
        let info = format!("{what} path");
        let held = Held::new(false);
        let rule = Rule::with_program(&programs::unwiped_callout(), &held.config());
        let (memory, answer) = memory_after(&held, &rule, "user", &info);
        assert!(answer.is_ok(), "{answer:?}");
        all.extend(memory.find(&secrets(&held, &rule, "user", &info)));
    }
    println!("{all:#?}");
    assert!(!all.is_empty());
}

/// How many kB of a process' memory are locked, and the mappings that it could write
/// secrets to and that are not.
fn locked(process: u32) -> (u64, Vec<String>) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let locked = locked.unwrap().trim().strip_suffix(" kB").unwrap();
    let maps = fs::read_to_string(format!("/proc/{process}/smaps")).unwrap();
    let mut mapping = "";
    let mut unlocked = Vec::new();
    for line in maps.lines() {
        match line.strip_prefix("VmFlags:") {
            Some(flags) => {
                let has = |wanted| flags.split_ascii_whitespace().any(|flag| flag == wanted);
                if has("wr") && !has("lo") {
                    unlocked.push(mapping.to_owned());
                }
            }
            None if line.contains('-') => mapping = line,
            None => {}
        }
    }
    (locked.parse().unwrap(), unlocked)
}

#[test]
fn secrets_are_locked_in_memory() {
    let locked_in = |program: &Path| {
        // The identity key is there.
        let held = Held::new(true);
        let rule = Rule::with_program(program, &held.config());
        let asking = ask(&rule, "user", "32 path");
        held.wait();
        let locked = locked(rule.wait_for_callout());
        held.release.send(()).unwrap();
        let output = asking.wait_with_output().unwrap();
        assert!(answer(&output).is_ok(), "{output:?}");
        rule.assert_nothing_left();
        locked
    };
    let (kilobytes, unlocked) = locked_in(&programs::callout());
    assert!(kilobytes > 0);
    assert!(unlocked.is_empty(), "{unlocked:#?}");
    let (kilobytes, unlocked) = locked_in(&programs::unwiped_callout());
    assert_eq!(kilobytes, 0);
    assert!(!unlocked.is_empty(), "this one locks nothing");
}

/// What is found when a signal comes while the callout has the identity key.
fn after_signal(program: &Path, signal: Signal) -> (Vec<String>, Answer) {
    let held = Held::new(true);
    let rule = Rule::with_program(program, &held.config());
    let asking = ask(&rule, "user", "32 path");
    held.wait();
    let callout = rule.wait_for_callout();
    let send = || kill(Pid::from_raw(callout.cast_signed()), signal).unwrap();
    let memory = Memory::at_exit_of(callout, send);
    let output = asking.wait_with_output().unwrap();
    let _ = held.release.send(());
    rule.assert_nothing_left();
    (
        memory.find(&secrets(&held, &rule, "user", "32 path")),
        answer(&output),
    )
}

#[test]
fn a_crash_leaves_nothing() {
    for (signal, said) in [
        (Signal::SIGSEGV, "EAGAIN"),
        (Signal::SIGABRT, "EAGAIN"),
        // What comes of a system call that it is not allowed.
        (Signal::SIGSYS, "EKEYREJECTED"),
    ] {
        let (found, answer) = after_signal(&programs::callout(), signal);
        assert!(found.is_empty(), "{signal}: {found:#?}");
        // It is said to the asker before.
        assert_eq!(answer, errno(said), "{signal}");
    }
    // One that threads are stopped by, from outside.
    let (found, answer) = after_signal(&programs::callout(), Signal::SIGUSR2);
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(answer, errno("EAGAIN"));
    let (found, answer) = after_signal(&programs::forgetful_callout(), Signal::SIGABRT);
    assert!(!found.is_empty(), "this one does leave something");
    assert_eq!(answer, errno("ENOKEY"));
}

#[test]
fn a_signal_in_the_middle_of_a_search_leaves_nothing() {
    let held = Held::new(false);
    let rule = Rule::direct(&held.config());
    let info = "rsa4096 path";
    let asking = ask(&rule, "user", info);
    held.wait();
    let callout = rule.wait_for_callout();
    let memory = Memory::at_exit_of(callout, || {
        held.release.send(()).unwrap();
        thread::spawn(move || {
            // The last command has been answered: what follows is computed.
            let start = Instant::now();
            let task = format!("/proc/{callout}/task");
            let threads = || fs::read_dir(&task).map_or(0, Iterator::count);
            while threads() < 3 && start.elapsed() < Duration::from_secs(30) {
                thread::sleep(Duration::from_millis(1));
            }
            let _ = kill(Pid::from_raw(callout.cast_signed()), Signal::SIGTERM);
        });
    });
    let found = memory.find(&secrets(&held, &rule, "user", info));
    assert!(found.is_empty(), "{found:#?}");
    let output = asking.wait_with_output().unwrap();
    assert_eq!(answer(&output), errno("EAGAIN"));
    rule.assert_nothing_left();
}
