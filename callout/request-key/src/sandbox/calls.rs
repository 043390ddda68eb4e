// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The system calls that are made once everything is open: seccomp(2).
//!
//! A filter sees numbers, and arguments that are numbers.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompRule, apply_filter,
};
use tpm_derived_keys::tpm::Tcti;

use super::Needs;
use super::search::{Verdict, compile};

/// Those that are allowed whatever their arguments are.
const PLAIN: &[c_long] = &[
    // Memory
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Signals, to oneself
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_setitimer,
    libc::SYS_sigaltstack,
    // Files: Landlock says which
    libc::SYS_close,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // What is open, and may not be there at once
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    // Time, random numbers, who this is
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getuid,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_setpriority,
    libc::SYS_uname,
];

/// The same by names that only this architecture has.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// For sockets that are still to be connected.
const SOCKETS: &[c_long] = &[
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
];

/// Those that nothing here makes by mistake: whoever does has taken over.
const HOSTILE: &[c_long] = &[
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_setresuid,
    libc::SYS_setuid,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// What is done to keys, each to the one that is under construction.
const KEY_OPERATIONS: &[u32] = &[
    libc::KEYCTL_CHOWN,
    libc::KEYCTL_SETPERM,
    libc::KEYCTL_SET_TIMEOUT,
    libc::KEYCTL_INSTANTIATE,
    libc::KEYCTL_REJECT,
];

/// `FIONBIO`, and `FS_IOC_MEASURE_VERITY`.
const CONTROLS: [u64; 2] = [0x5421, 0xC004_6686];

/// The bits of a socket's type that are no flags: `SOCK_TYPE_MASK` of the kernel.
const SOCKET_TYPE: u64 = 0xF;

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Installs the filter.
pub(super) fn restrict(needs: &Needs<'_>) -> Result<(), Error> {
    apply_filter(&program(needs)?)
}

fn program(needs: &Needs<'_>) -> Result<BpfProgram, BackendError> {
    let mut verdicts: BTreeMap<_, _> = allowed(needs)?
        .into_iter()
        .map(|(call, rules)| {
            let verdict = if rules.is_empty() {
                Verdict::Always(SeccompAction::Allow)
            } else {
                Verdict::AllowedIf(rules)
            };
            (numbered(call), verdict)
        })
        .collect();
    // Its arguments are in memory, where no filter looks: without it, C libraries
    // make threads by clone(2).
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    verdicts.insert(numbered(libc::SYS_clone3), Verdict::Always(enosys));
    for call in HOSTILE {
        verdicts.insert(numbered(*call), Verdict::Always(SeccompAction::Trap));
    }
    compile(verdicts, &SeccompAction::Errno(libc::EPERM.unsigned_abs()))
}

/// A system call's number as the kernel shows it to filters.
fn numbered(call: c_long) -> u32 {
    u32::try_from(call).expect("no system call has a number that is negative or that large")
}

fn plain(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn allowed(needs: &Needs<'_>) -> Result<Rules, BackendError> {
    let mut rules = plain(PLAIN);
    rules.extend(plain(OLD));
    // Memory that is written is not executed.
    let exec = number(libc::PROT_EXEC);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule([without(2, exec)?])?]);
    }
    // Threads, and a child: in no other namespaces.
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    rules.insert(
        libc::SYS_clone,
        vec![rule([without(0, number(namespaces))?])?],
    );
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![rule([is(0, own)?])?]);
    let name = number(libc::PR_SET_NAME);
    rules.insert(libc::SYS_prctl, vec![rule([is(0, name)?])?]);
    let controls = CONTROLS.map(|control| rule([is(1, control)?]));
    rules.insert(
        libc::SYS_ioctl,
        controls.into_iter().collect::<Result<_, _>>()?,
    );
    let key = number(needs.key);
    let operations = KEY_OPERATIONS
        .iter()
        .map(|operation| rule([is(0, u64::from(*operation))?, is(1, key)?]));
    rules.insert(libc::SYS_keyctl, operations.collect::<Result<_, _>>()?);
    // To whom a socket is connected, and to no address: that of the log could reach
    // other daemons. sendmsg(2), whose arguments are in memory, could pass files, too.
    let connects = number(libc::MSG_FASTOPEN);
    let to_its_peer = rule([without(3, connects)?, is_null(4)?])?;
    rules.insert(libc::SYS_sendto, vec![to_its_peer]);
    let family = match needs.tcti {
        Tcti::Device(_) => return Ok(rules),
        Tcti::SwtpmUnix(_) => libc::AF_UNIX,
        Tcti::SwtpmTcp(address) if address.is_ipv4() => libc::AF_INET,
        Tcti::SwtpmTcp(_) => libc::AF_INET6,
    };
    rules.extend(plain(SOCKETS));
    // Of streams, only those that Landlock knows the ports of: no MPTCP.
    let stream = rule([
        is(0, number(family))?,
        is_type(1, number(libc::SOCK_STREAM))?,
        is(2, 0)?,
    ])?;
    rules.insert(libc::SYS_socket, vec![stream]);
    Ok(rules)
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}

/// An argument of 32 bits is this.
fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        value & u64::from(u32::MAX),
    )
}

/// An argument is no address.
fn is_null(argument: u8) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

/// An argument is this type of a socket, whatever flags there are beside it.
fn is_type(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(SOCKET_TYPE),
        value,
    )
}

/// An argument has none of these bits.
fn without(argument: u8, bits: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(bits),
        0,
    )
}

/// Of numbers that are not negative.
fn number(value: c_int) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
