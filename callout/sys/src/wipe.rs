// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A process that ends without its memory.
//!
//! Types that wipe themselves do not know of the copies that the compiler and
//! libraries leave on stacks, nor are they dropped when a process is ended by a
//! signal. So the last thing that such a process does is to overwrite everything
//! that it could have written: heap, stacks, whatever else is mapped for it alone.
//!
//! It is done in a signal handler, because that has a stack of its own: by the
//! main thread, after all others have been stopped. Signals that a fault brings
//! (SIGSEGV, SIGABRT, ...) lead there by themselves, [`end`] by a signal that it
//! sends. Nobody returns from there, so nothing misses what was overwritten.
//!
//! What is called there is async-signal-safe: system calls, and code of this file,
//! of `calls` and of `memory` that neither allocates nor panics.

mod calls;
mod memory;
mod signals;

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::{UnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Ordering::SeqCst};

use calls::{call, close, exit, number, open, pause, process, send, thread};
use memory::{Pages, read_all, wipe, wipe_all};
use signals::{die_of, handle, unblock};

/// What ends a process that is faulty, or that made a system call which it is not
/// allowed.
const FAULTS: [c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// Has the main thread end the process.
const END: c_int = libc::SIGUSR1;

/// The same for a child that is alone, and that can send no signals: they are for
/// the process that was there when the sandbox was closed.
const ALARM: c_int = libc::SIGALRM;

/// Stops another thread for ever.
const STOP: c_int = libc::SIGUSR2;

/// The region that is not overwritten: room for lists that the kernel writes, and
/// above it the handler's stack.
const LIST: usize = 64 * 1024;
const REGION: usize = 2 * LIST;

/// Where the region is; 0 as long as the process ends as others do.
static PLACE: AtomicUsize = AtomicUsize::new(0);

/// How much of the list of what is mapped has been noted in the region.
static NOTED: AtomicUsize = AtomicUsize::new(0);

/// How large the kernel's pages are.
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// Whether all memory is locked.
static LOCKED: AtomicBool = AtomicBool::new(false);

/// The exit status.
static STATUS: AtomicU8 = AtomicU8::new(1);

/// In a child that outlives its parent, the parent.
static OUTLIVES: AtomicI32 = AtomicI32::new(0);

/// The key under construction that a fault rejects; 0 for none.
static KEY: AtomicI32 = AtomicI32::new(0);

/// A thread that never has a secret; 0 for none.
static INNOCENT: AtomicI32 = AtomicI32::new(0);

/// Whether threads are to stop: otherwise STOP has come from outside.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// How many threads have stopped.
static STOPPED: AtomicUsize = AtomicUsize::new(0);

/// How many milliseconds threads may take to stop. One that can't be reached is in
/// the kernel, and writes nothing either.
const PATIENCE: usize = 500;

/// How many milliseconds the main thread may take to end the process.
const LAST_PATIENCE: usize = 10_000;

/// How much memory this process might lock when it began, if that has been changed.
static LIMITS: OnceLock<libc::rlimit> = OnceLock::new();

/// Keeps what this process writes to its memory, now and later, out of swap.
/// The system says no to those who may not lock as much as they like.
fn lock_memory() -> io::Result<()> {
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit(2) writes a struct rlimit, which the reference keeps alive.
    check(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut before) })?;
    // Where a limit held, memory would run out at it.
    let none = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: setrlimit(2) reads a struct rlimit, which the reference keeps alive.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none) })?;
    // A child that locks its memory again has the changed ones.
    LIMITS.get_or_init(|| before);
    let everything = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: mlockall(2) takes a number, and changes no memory's content.
    check(unsafe { libc::mlockall(everything) })?;
    LOCKED.store(true, SeqCst);
    Ok(())
}

/// Has a command run with the limits that this process has been given, whatever it
/// has made of them for itself.
pub fn with_limits_as_given(command: &mut Command) -> &mut Command {
    let Some(limits) = LIMITS.get().copied() else {
        return command;
    };
    // SAFETY: in a process that has just been forked, setrlimit(2) may be called. It
    // reads a struct rlimit, which the reference keeps alive.
    unsafe {
        command.pre_exec(move || check(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limits)))
    }
}

/// Runs a program, keeps its memory out of swap if it may, and overwrites it when
/// the program ends: by coming back from here, by [`end`], or by a fault.
///
/// It is the main thread that has to call it, before there is another.
pub fn run_and_wipe(program: impl FnOnce() -> ExitCode + UnwindSafe) -> ! {
    use_one_heap();
    let _ = lock_memory();
    // Where there is no memory to be had, it ends as others do.
    let _ = wipe_at_the_end();
    // Whoever panics has said so.
    end(catch_unwind(program).unwrap_or(ExitCode::FAILURE))
}

/// Has all threads use the same heap. glibc's malloc maps another one, of 128 MiB, for the
/// second thread that allocates, which costs more than it gains where threads allocate
/// little.
fn use_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers. No other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Has the process end without its memory.
fn wipe_at_the_end() -> io::Result<()> {
    // SAFETY: sysconf(3) takes a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) });
    let page = page.map_err(io::Error::other)?;
    // Between pages that nobody can use, so that the kernel tells it from others.
    // SAFETY: mmap(2) makes a new mapping and touches none that is there.
    let around = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            REGION + 2 * page,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if around == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let region = around.wrapping_byte_add(page);
    let usable = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: this is a part of what has just been mapped, and not used yet.
    check(unsafe { libc::mprotect(region, REGION, usable) })?;
    let place = region.expose_provenance();
    use_stack(place)?;
    PAGE.store(page, SeqCst);
    PLACE.store(place, SeqCst);
    for fault in FAULTS {
        handle(fault, last)?;
    }
    handle(END, last)?;
    handle(ALARM, last)?;
    handle(STOP, stop)?;
    // Who has started this program may have had them blocked.
    unblock(&FAULTS)?;
    unblock(&[END, ALARM, STOP])
}

/// Has this thread's signals handled on the region's stack.
fn use_stack(place: usize) -> io::Result<()> {
    let stack = libc::stack_t {
        ss_sp: std::ptr::with_exposed_provenance_mut(place + LIST),
        ss_flags: 0,
        ss_size: REGION - LIST,
    };
    // SAFETY: the stack is of the given size, never unmapped, and of one thread: the
    // main one, or the only one of a child.
    check(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) })
}

/// Tells which key a process rejects that is ended by a fault (0 for none), for 5 seconds:
/// with EAGAIN, as another process may do better; with EKEYREJECTED where it has made a
/// system call that it is not allowed. Without that the kernel would tell the asker, for a
/// minute, that there is nobody to ask.
pub fn reject_on_fault(serial: i32) {
    KEY.store(serial, SeqCst);
}

/// Tells that the calling thread never has a secret, and need not be stopped before
/// the memory is overwritten. That does not do it good, should it wake meanwhile: it
/// comes to a fault, and no further.
pub fn has_no_secrets() {
    INNOCENT.store(thread(), SeqCst);
}

/// Ends the process, without its memory if [`run_and_wipe`] has been called.
pub fn end(code: ExitCode) -> ! {
    let is_it = |status: &u8| ExitCode::from(*status) == code;
    let status = (0..=u8::MAX).find(is_it).unwrap_or(1);
    if PLACE.load(SeqCst) != 0 {
        STATUS.store(status, SeqCst);
        KEY.store(0, SeqCst);
        send(process(), process(), END);
        // The main thread does not come here. Should it be in a driver that does
        // not answer, it can't be reached, and the process ends as others do.
        pause(LAST_PATIENCE);
    }
    std::process::exit(status.into())
}

/// Before fork(2): notes what there is to wipe, which a child can't always read.
pub(crate) fn note_mappings() {
    let place = PLACE.load(SeqCst);
    if place != 0 {
        NOTED.store(read_all(c"/proc/self/maps", place), SeqCst);
    }
}

/// In a child that has just been forked, and that goes on: locks are not inherited.
pub(crate) fn lock_again() {
    if LOCKED.swap(false, SeqCst) {
        let _ = lock_memory();
    }
}

/// In a child that has just been forked, and whose memory is a copy: wipes it,
/// waits for the parent's end, and ends. Returns where nothing is to be wiped.
pub(crate) fn outlive(parent: i32) {
    let place = PLACE.load(SeqCst);
    if place != 0 && use_stack(place).is_ok() {
        OUTLIVES.store(parent, SeqCst);
        LOCKED.store(false, SeqCst);
        // struct itimerval: four words, of which the last are microseconds.
        let soon = [0_usize, 0, 0, 1];
        call(
            libc::SYS_setitimer,
            [0, soon.as_ptr().expose_provenance(), 0, 0],
        );
        pause(LAST_PATIENCE);
    }
}

/// The handler of STOP.
extern "C" fn stop(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Sent from outside it ends the process, as it would others.
    if !STOPPING.load(SeqCst) || thread() == process() {
        last(END, info, context);
    }
    STOPPED.fetch_add(1, SeqCst);
    loop {
        pause(LAST_PATIENCE);
    }
}

/// The handler of END and of faults. All signals are blocked in it.
extern "C" fn last(signal: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let process = process();
    if thread() != process {
        STOPPED.fetch_add(1, SeqCst);
        send(process, process, signal);
        pause(LAST_PATIENCE);
        exit(1);
    }
    let key = KEY.swap(0, SeqCst);
    if key != 0 {
        // The least that a request is owed; there is nobody to tell of an error.
        let errno = match signal {
            libc::SIGSYS => libc::EKEYREJECTED,
            _ => libc::EAGAIN,
        };
        let _ = crate::reject(key, 5, errno);
    }

    // From statics, which will be overwritten as well.
    let place = PLACE.load(SeqCst);
    let status = STATUS.load(SeqCst);
    let outlives = OUTLIVES.load(SeqCst);
    let pages = Pages {
        size: PAGE.load(SeqCst),
        locked: LOCKED.load(SeqCst),
    };
    let length = if outlives == 0 {
        stop_others(process, place);
        read_all(c"/proc/self/maps", place)
    } else {
        NOTED.load(SeqCst)
    };
    wipe_all(place, length, &pages);
    // What the processor's registers held: the kernel has laid it on this stack.
    wipe(context.addr().max(place + LIST), place + REGION, &pages);

    if outlives != 0 {
        // Processes get another parent when theirs has closed its files.
        while call(libc::SYS_getppid, [0; 4]) == c_long::from(outlives) {
            pause(5);
        }
        exit(0);
    }
    if signal != END {
        die_of(process, signal);
    }
    exit(status)
}

/// Stops all threads but this one.
fn stop_others(process: i32, place: usize) {
    STOPPING.store(true, SeqCst);
    let mut before = usize::MAX;
    // Until no thread has started another meanwhile.
    for _ in 0..8 {
        let others = signal_others(process, place);
        if others == before {
            return;
        }
        before = others;
        for _ in 0..PATIENCE {
            if STOPPED.load(SeqCst) >= others {
                break;
            }
            pause(1);
        }
    }
}

/// Signals all threads but this one; how many they are.
fn signal_others(process: i32, place: usize) -> usize {
    let Some(directory) = open(c"/proc/self/task", libc::O_DIRECTORY) else {
        return 0;
    };
    let innocent = INNOCENT.load(SeqCst);
    let mut others = 0;
    loop {
        let read = call(libc::SYS_getdents64, [directory, place, LIST, 0]);
        let Ok(read @ 1..=LIST) = usize::try_from(read) else {
            break;
        };
        // SAFETY: the kernel has just written as many bytes there, and nothing
        // else uses this part of the region.
        let entries = unsafe {
            std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(place), read)
        };
        let mut at = 0;
        // struct linux_dirent64: inode, offset, length, type, name.
        while let Some(entry) = entries.get(at..)
            && let Some(&[low, high]) = entry.get(16..18)
            && let Some(name) = entry.get(19..)
        {
            let thread = i32::try_from(number(name, 10)).unwrap_or(0);
            if thread != 0 && thread != process && thread != innocent {
                send(process, thread, STOP);
                others += 1;
            }
            at += usize::from(u16::from_ne_bytes([low, high])).max(19);
        }
    }
    close(directory);
    others
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
