// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory of a process in the moment before it exits, and what is found there.
//!
//! A tracer sees every thread stop once more before it exits (PTRACE_O_TRACEEXIT):
//! the process' memory is all there, and none of its code will run any more.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{PTRACE_EVENT_CLONE, PTRACE_EVENT_EXIT};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::oracle::Secrets;

/// What a process had in its memory.
#[derive(Debug)]
pub struct Memory(Vec<(String, Vec<u8>)>);

impl Memory {
    /// Traces a process from now on, lets it `go` on, and looks when it exits.
    pub fn at_exit_of(process: u32, go: impl FnOnce()) -> Self {
        let leader = Pid::from_raw(process.cast_signed());
        let options = Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_TRACECLONE;
        let mut threads = BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
            let thread = entry.unwrap().file_name().into_string().unwrap();
            let thread = Pid::from_raw(thread.parse().unwrap());
            ptrace::seize(thread, options).unwrap();
            threads.insert(thread);
        }
        go();
        let start = Instant::now();
        let mut memory = None;
        while !threads.is_empty() {
            assert!(
                start.elapsed() < Duration::from_mins(2),
                "{process} does not exit"
            );
            for thread in threads.clone() {
                follow(thread, &mut threads, |thread| {
                    if thread == leader {
                        memory = Some(Self::of(process));
                    }
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
        memory.expect("its first thread exits")
    }

    fn of(process: u32) -> Self {
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let memory = File::open(format!("/proc/{process}/mem")).unwrap();
        let mappings = maps.lines().filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            // Not all can be read: the kernel's own, and what nobody may read.
            memory.read_exact_at(&mut bytes, start).ok()?;
            Some((format!("{range} {rest}"), bytes))
        });
        Self(mappings.collect())
    }

    /// Where which of these secrets are, or parts of them.
    pub fn find(&self, secrets: &Secrets) -> Vec<String> {
        let needles = needles(secrets);
        let mut may_begin = vec![false; 1 << 16];
        let beginning = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        for needle in needles.keys() {
            may_begin[beginning(needle)] = true;
        }
        let mut found = BTreeSet::new();
        for (place, bytes) in &self.0 {
            for window in bytes.windows(NEEDLE) {
                if may_begin[beginning(window)]
                    && let Some(name) = needles.get(window)
                {
                    found.insert(format!("{name} in {place}"));
                }
            }
        }
        found.into_iter().collect()
    }
}

/// What has happened to a thread, if anything.
fn follow(thread: Pid, threads: &mut BTreeSet<Pid>, mut exits: impl FnMut(Pid)) {
    let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
    let mut signal = None;
    match waitpid(thread, Some(flags)) {
        Ok(WaitStatus::StillAlive) => return,
        Ok(WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_EXIT)) => exits(thread),
        Ok(WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_CLONE)) => {
            let new = ptrace::getevent(thread).unwrap();
            threads.insert(Pid::from_raw(new.try_into().unwrap()));
        }
        Ok(WaitStatus::Stopped(_, stopped)) => signal = Some(stopped),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => {
            threads.remove(&thread);
            return;
        }
        Ok(_) => {}
        Err(error) => panic!("{error}"),
    }
    // SIGTRAP is how a thread that has just been made says so.
    let signal = signal.filter(|signal| *signal != Signal::SIGTRAP);
    match ptrace::cont(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("{error}"),
    }
}

/// So many bytes are no accident.
const NEEDLE: usize = 16;

/// Parts of secrets, in the orders of bytes that numbers and hashes are kept in, and
/// what they are parts of.
fn needles(secrets: &Secrets) -> HashMap<Vec<u8>, String> {
    let mut needles = HashMap::new();
    for (name, secret) in secrets.all() {
        let swapped = |size: usize| -> Vec<u8> {
            let words = secret.chunks(size).map(|word| word.iter().rev());
            words.flatten().copied().collect()
        };
        let masked = |mask: u8| -> Vec<u8> { secret.iter().map(|byte| byte ^ mask).collect() };
        for (order, bytes) in [
            ("", secret.clone()),
            (", backwards", secret.iter().rev().copied().collect()),
            (", in words of 4", swapped(4)),
            (", in words of 8", swapped(8)),
            (", as HMAC's inner key", masked(0x36)),
            (", as HMAC's outer key", masked(0x5C)),
        ] {
            let parts = bytes.windows(NEEDLE).step_by(8);
            needles.extend(parts.map(|part| (part.to_vec(), format!("{name}{order}"))));
        }
    }
    needles
}
