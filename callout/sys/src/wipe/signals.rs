// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who handles which signals.

use std::ffi::{c_int, c_void};
use std::io;

use super::calls::send;
use super::check;

/// Ends the process by the signal that it has got.
pub(super) fn die_of(process: i32, signal: c_int) {
    // SAFETY: all zeros are a sigaction: the default action, without flags. The call
    // reads memory of ours, which the reference keeps alive, and writes none.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, &raw const default, std::ptr::null_mut());
    }
    let _ = unblock(&[signal]);
    send(process, process, signal);
}

/// Has the calling thread get these signals.
pub(super) fn unblock(signals: &[c_int]) -> io::Result<()> {
    // SAFETY: sigemptyset(3) and sigaddset(3) write to the set that they are given,
    // pthread_sigmask(3) reads it. The references keep it alive.
    let error = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut())
    };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

pub(super) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

pub(super) fn handle(signal: c_int, handler: Handler) -> io::Result<()> {
    // SAFETY: all zeros are a sigaction. The handler is of the kind that
    // SA_SIGINFO says, and async-signal-safe: see `wipe`. sigfillset(3) writes to
    // the mask that it is given, sigaction(2) reads what it is given.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigfillset(&raw mut action.sa_mask);
        check(libc::sigaction(
            signal,
            &raw const action,
            std::ptr::null_mut(),
        ))
    }
}
