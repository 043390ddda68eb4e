// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a signal handler may call: nothing here allocates or panics.

use std::ffi::{CStr, c_int, c_long};

pub(super) fn open(path: &CStr, flags: c_int) -> Option<usize> {
    let flags = usize::try_from(libc::O_RDONLY | libc::O_CLOEXEC | flags).ok()?;
    // AT_FDCWD is negative; of an absolute path it is not looked at.
    let path = path.as_ptr().expose_provenance();
    usize::try_from(call(libc::SYS_openat, [0, path, flags, 0])).ok()
}

pub(super) fn close(file: usize) {
    call(libc::SYS_close, [file, 0, 0, 0]);
}

/// The number that bytes begin with.
pub(super) fn number(digits: &[u8], base: u32) -> usize {
    let mut number = 0_usize;
    for byte in digits {
        let Some(digit) = char::from(*byte).to_digit(base) else {
            break;
        };
        number = number
            .wrapping_mul(base as usize)
            .wrapping_add(digit as usize);
    }
    number
}

pub(super) fn process() -> i32 {
    i32::try_from(call(libc::SYS_getpid, [0; 4])).unwrap_or(0)
}

pub(super) fn thread() -> i32 {
    i32::try_from(call(libc::SYS_gettid, [0; 4])).unwrap_or(0)
}

pub(super) fn send(process: i32, thread: i32, signal: c_int) {
    let [process, thread, signal] =
        [process, thread, signal].map(|number| usize::try_from(number).unwrap_or(0));
    call(libc::SYS_tgkill, [process, thread, signal, 0]);
}

pub(super) fn pause(milliseconds: usize) {
    let until = [milliseconds / 1000, milliseconds % 1000 * 1_000_000];
    // ppoll(2) of nothing: struct timespec is two words, of which it reads them.
    call(
        libc::SYS_ppoll,
        [0, 0, until.as_ptr().expose_provenance(), 0],
    );
}

pub(super) fn exit(status: u8) -> ! {
    loop {
        call(libc::SYS_exit_group, [status.into(), 0, 0, 0]);
    }
}

/// A system call. Those above read and write what the caller has just made room
/// for, or numbers alone.
pub(super) fn call(number: c_long, arguments: [usize; 4]) -> c_long {
    let [a, b, c, d] = arguments;
    // SAFETY: as said, for each.
    unsafe { libc::syscall(number, a, b, c, d, 0_usize) }
}
