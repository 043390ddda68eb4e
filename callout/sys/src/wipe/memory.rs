// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is mapped, and overwriting it. Async-signal-safe.

use std::ffi::CStr;

use super::LIST;
use super::calls::{call, close, number, open};

/// Reads a file into the region; how many bytes.
pub(super) fn read_all(path: &CStr, place: usize) -> usize {
    let Some(file) = open(path, 0) else { return 0 };
    let mut length = 0;
    while let Ok(read @ 1..) = usize::try_from(call(
        libc::SYS_read,
        [file, place + length, LIST - length, 0],
    )) {
        length += read;
    }
    close(file);
    length
}

/// Overwrites all that is mapped for this process alone and that it can write, but
/// for the region, and for files' content: variables that programs and libraries
/// begin with, which no secret is ever in.
pub(super) fn wipe_all(place: usize, length: usize, pages: &Pages) {
    // SAFETY: `length` bytes were written there, and nothing else uses this part of
    // the region.
    let list = unsafe {
        std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(place), length)
    };
    for line in list.split_inclusive(|byte| *byte == b'\n') {
        if !line.ends_with(b"\n") {
            return;
        }
        // START-END PERMISSIONS OFFSET DEVICE INODE NAME
        let mut words = line.split(|byte| *byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        let mut range = word().split(|byte| *byte == b'-');
        let mut limit = || number(range.next().unwrap_or_default(), 16);
        let (start, end) = (limit(), limit());
        let is_ours = word() == b"rw-p";
        let _ = (word(), word());
        let is_a_file = word() != b"0";
        if is_ours && !is_a_file && start != place {
            wipe(start, end, pages);
        }
    }
}

/// What is to be known of the kernel's pages.
pub(super) struct Pages {
    pub(super) size: usize,
    /// Those that are not there have never been written.
    pub(super) locked: bool,
}

/// Overwrites memory, as far as it is there.
pub(super) fn wipe(start: usize, end: usize, pages: &Pages) {
    // Of the 2 MiB of a thread's stack it takes one call.
    let mut there = [1_u8; 512];
    let mut at = start;
    while at < end {
        let chunk = (there.len() * pages.size).min(end - at);
        there.fill(1);
        // Of pages in swap the kernel would say that they are not there.
        if pages.locked && at.is_multiple_of(pages.size) {
            call(
                libc::SYS_mincore,
                [at, chunk, there.as_mut_ptr().expose_provenance(), 0],
            );
        }
        for (index, page) in (at..at + chunk).step_by(pages.size).enumerate() {
            if there.get(index).is_some_and(|there| there & 1 == 0) {
                continue;
            }
            for word in (page..(page + pages.size).min(end)).step_by(size_of::<usize>()) {
                // SAFETY: this is mapped, and may be written. No code will miss it:
                // this is the only thread that runs, it never leaves the handler,
                // and uses nothing but its own stack and the region's list, which
                // are not handed here.
                unsafe {
                    std::ptr::with_exposed_provenance_mut::<usize>(word).write_volatile(0);
                }
            }
        }
        at += chunk;
    }
}
