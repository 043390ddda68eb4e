// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the system offers and no library wraps. No other crate of the programs
//! has `unsafe` code.
#![allow(unsafe_code)]

mod pkey;
mod wipe;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

pub use pkey::{pkey_encrypt, pkey_sign, pkey_size};
pub use wipe::{end, has_no_secrets, reject_on_fault, run_and_wipe, with_limits_as_given};

/// What system calls take as "no keyring".
pub const NO_KEYRING: i32 = 0;

/// `KEY_SPEC_PROCESS_KEYRING`: the one of the calling process, made when needed.
pub const PROCESS_KEYRING: i32 = -2;

/// `KEY_SPEC_SESSION_KEYRING`: the calling thread's session keyring.
pub const SESSION_KEYRING: i32 = -3;

/// `request_key(2)`: the serial number of a key that is found in the calling
/// thread's keyrings, or else made for it by whomever the kernel asks; and linked
/// into `keyring`. Without callout info, nobody is asked.
///
/// (linux-keyutils' own takes no bytes that are not UTF-8, and `user` keys only.)
///
/// # Errors
///
/// What the system call says, or whoever was asked: ENOKEY, EACCES and so on.
pub fn request_key(
    key_type: &CStr,
    description: &CStr,
    callout_info: Option<&CStr>,
    keyring: i32,
) -> io::Result<i32> {
    let callout_info = callout_info.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: request_key reads three strings that end with a 0, the third of
    // which may be null, and writes nothing. The references keep them alive.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_request_key,
            key_type.as_ptr(),
            description.as_ptr(),
            callout_info,
            keyring,
        )
    };
    i32::try_from(serial)
        .ok()
        .filter(|serial| *serial > 0)
        .ok_or_else(io::Error::last_os_error)
}

/// `add_key(2)`: the serial number of a key that is made and linked into
/// `keyring`.
///
/// (linux-keyutils' own makes `user` keys only.)
///
/// # Errors
///
/// What the system call says: ENODEV where there is no such key type, EINVAL or
/// EBADMSG where it does not take the payload, EDQUOT and so on.
pub fn add_key(
    key_type: &CStr,
    description: &CStr,
    payload: &[u8],
    keyring: i32,
) -> io::Result<i32> {
    // SAFETY: add_key reads two strings that end with a 0, and as many bytes of
    // the payload as it is told there are, and writes nothing. The references
    // keep them alive.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            key_type.as_ptr(),
            description.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            keyring,
        )
    };
    i32::try_from(serial)
        .ok()
        .filter(|serial| *serial > 0)
        .ok_or_else(io::Error::last_os_error)
}

/// Has a program that `command` starts inherit nothing but its standard streams, whatever
/// libraries have opened without `O_CLOEXEC`, as libtss2 does with its sockets:
/// `close_range(2)` with `CLOSE_RANGE_CLOEXEC`, of Linux 5.11 and later. On an older kernel it
/// inherits as ever.
pub fn inherit_nothing(command: &mut Command) {
    const FIRST: libc::c_uint = 3;
    // SAFETY: in a process that has just been forked, system calls may be made that touch no
    // memory. This one only marks the child's own file descriptors, which are closed when
    // the program is executed.
    unsafe {
        command.pre_exec(|| {
            libc::syscall(
                libc::SYS_close_range,
                FIRST,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            Ok(())
        });
    }
}

/// `keyctl(KEYCTL_JOIN_SESSION_KEYRING)` without a name: gives the calling
/// thread, and no other, a new and empty session keyring.
///
/// # Errors
///
/// What the system call says: EDQUOT where the user's quota is full, ENOSYS in a
/// kernel without keyrings.
pub fn join_new_session() -> io::Result<()> {
    let no_name = std::ptr::null::<libc::c_char>();
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING takes the address of a string, or
    // null, and touches no memory of ours.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, no_name) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `keyctl(KEYCTL_DESCRIBE)`: `type;uid;gid;perm;description` of a key.
///
/// (linux-keyutils' own panics on descriptions that are long.)
///
/// # Errors
///
/// What the system call says: ENOKEY, EACCES and so on.
pub fn describe(serial: i32) -> io::Result<Vec<u8>> {
    // A description has at most 4095 bytes, what stands before it less than 100.
    let mut buffer = vec![0_u8; 8192];
    // SAFETY: KEYCTL_DESCRIBE writes at most the given number of bytes to the
    // given address, which is that of a live buffer of that size, and reads
    // nothing.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_DESCRIBE,
            serial,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // The length counts a terminating 0.
    buffer.truncate(length.saturating_sub(1));
    Ok(buffer)
}

/// `keyctl(KEYCTL_READ)` of a keyring: the serial numbers of the keys in it.
///
/// (linux-keyutils looks at each of the keys, and fails if one may not be
/// looked at.)
///
/// # Errors
///
/// What the system call says: ENOKEY, EACCES and so on.
pub fn keys_in(keyring: i32) -> io::Result<Vec<i32>> {
    // The keyring of a request has one key; more than these are of no use.
    let mut serials = vec![0_i32; 64];
    let size = serials.len() * size_of::<i32>();
    // SAFETY: KEYCTL_READ writes at most the given number of bytes to the given
    // address, which is that of a live buffer of that size, and reads nothing.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_READ,
            keyring,
            serials.as_mut_ptr(),
            size,
        )
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    serials.truncate(length.min(size) / size_of::<i32>());
    Ok(serials)
}

/// `keyctl(KEYCTL_REJECT)`: makes a key that is under construction a negative
/// one, which answers with `errno` for `seconds`.
///
/// (linux-keyutils' own always answers with EKEYREJECTED.)
///
/// # Errors
///
/// What the system call says: EPERM without the authority, EBUSY when the key
/// is not under construction any more.
pub fn reject(serial: i32, seconds: u32, errno: i32) -> io::Result<()> {
    // SAFETY: KEYCTL_REJECT takes four numbers and touches no memory of ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_REJECT,
            serial,
            seconds,
            errno,
            NO_KEYRING,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `FS_IOC_MEASURE_VERITY` (Documentation/filesystems/fsverity.rst): the number of
/// the hash algorithm and the digest that the kernel holds a file's content to.
///
/// # Errors
///
/// What the system call says: ENODATA where the file has none, ENOTTY or
/// EOPNOTSUPP where there is no fs-verity.
pub fn measure_verity(file: &File) -> io::Result<(u16, Vec<u8>)> {
    /// struct fsverity_digest, with room for the longest digest.
    #[repr(C)]
    struct Digest {
        algorithm: u16,
        size: u16,
        bytes: [u8; 64],
    }
    /// The same as the kernel declares it, with an array of no length at the end.
    #[repr(C)]
    struct Header {
        algorithm: u16,
        size: u16,
    }
    const MEASURE: libc::Ioctl = libc::_IOWR::<Header>(b'f' as u32, 134);
    let mut digest = Digest {
        algorithm: 0,
        size: 64,
        bytes: [0; 64],
    };
    // SAFETY: FS_IOC_MEASURE_VERITY reads and writes a struct fsverity_digest of
    // as many bytes as its `size` says behind the first four, which are there;
    // `file` is open.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), MEASURE, &raw mut digest) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let size = usize::from(digest.size).min(digest.bytes.len());
    Ok((digest.algorithm, digest.bytes[..size].to_vec()))
}

/// Opens a file to be read, as a user who owns nothing and has no capabilities over files:
/// where the kernel shows different users different things. In the calling thread alone.
///
/// A process that changes its user may be dumped again: say once more that it may not.
///
/// # Errors
///
/// What the system says. Who may not change users opens it as the one that they are.
pub fn open_as_nobody(path: &Path) -> io::Result<File> {
    /// The last number but -1, which means "none". Debian's `nobody` may own something.
    const NOBODY: libc::uid_t = libc::uid_t::MAX - 1;
    // SAFETY: setfsuid(2) takes a number, and returns the one that was there before; it
    // changes the calling thread alone.
    let before = unsafe { libc::setfsuid(NOBODY) };
    let file = File::open(path);
    // SAFETY: as above.
    unsafe { libc::setfsuid(before.cast_unsigned()) };
    file
}

/// Hands all open files to a child process that does nothing but outlive us.
///
/// The kernel lets nobody close a TPM device before the TPM has answered, not
/// even by exiting; and the asker waits for our exit. It is the last one to
/// close a file who waits: after this call that is the child, and exiting takes
/// no time.
///
/// The child's copy of our memory is wiped, if ours is at the end.
pub fn leave_files_to_a_child() {
    wipe::note_mappings();
    // SAFETY: fork(2) itself is safe; the child of a process with threads may
    // only call async-signal-safe functions, which close(2), getppid(2), poll(2),
    // _exit(2) and what wipes are. poll(2) touches no memory when it is given none.
    unsafe {
        let parent = libc::getpid();
        if libc::fork() == 0 {
            // Standard output first: request-key waits for its end.
            for standard in 0..=2 {
                libc::close(standard);
            }
            wipe::outlive(parent);
            // Processes get another parent when theirs has closed its files.
            while libc::getppid() == parent {
                libc::poll(std::ptr::null_mut(), 0, 5);
            }
            libc::_exit(0);
        }
    }
}

/// `fork(2)`, for a process that has a single thread: the child's process id, and
/// `None` in the child. That has no open files but the standard ones and `kept`.
///
/// # Errors
///
/// What the system call says; and another one, if there are more threads, or no
/// /proc to count them in.
pub fn fork(kept: &impl AsRawFd) -> io::Result<Option<i32>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        let what = "a process with several threads can't go to the background";
        return Err(io::Error::other(what));
    }
    // SAFETY: no other thread is in the middle of anything that the child would
    // find half done, so it may do whatever its parent may.
    match unsafe { libc::fork() } {
        0 => {
            wipe::lock_again();
            close_all_but(kept.as_raw_fd()).map(|()| None)
        }
        child @ 1.. => Ok(Some(child)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes what a child has inherited.
fn close_all_but(kept: libc::c_int) -> io::Result<()> {
    let close = |first: libc::c_int, last: libc::c_int| {
        if first > last {
            return Ok(());
        }
        // SAFETY: close_range(2) touches no memory of ours. Whatever in this child,
        // which has just begun, takes one of the files for its own would find it
        // closed: this is said to whoever calls fork().
        match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    close(3, kept - 1)?;
    close((kept + 1).max(3), libc::c_int::MAX)
}
