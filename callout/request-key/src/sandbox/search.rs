// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One seccomp filter that finds a system call by halves.
//!
//! seccompiler compares a call's number with each that it knows, one after the other.
//! The kernel runs a filter once for each number there is when it is installed, so a long
//! list is slow to install. Here it gives what it compiles of arguments, and the numbers
//! are searched by halves.

use std::collections::BTreeMap;

use libc::{BPF_ABS, BPF_JA, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// What becomes of a system call.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// This, whatever its arguments are.
    Always(SeccompAction),
    /// It is allowed if one of these fits its arguments.
    AllowedIf(Vec<SeccompRule>),
}

/// Where `struct seccomp_data` has the number of the call.
const NUMBER: u32 = 0;

/// How many instructions the compiler needs to see that the call is one of this
/// architecture.
const ARCHITECTURE: usize = 3;

/// Compiles a filter. The calls that are not named are `otherwise`; by another
/// architecture's numbers they end the process.
pub(super) fn compile(
    calls: BTreeMap<u32, Verdict>,
    otherwise: &SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    // Of no calls at all. The action for those that are on its list is never used.
    let nothing = SeccompFilter::new(
        BTreeMap::new(),
        SeccompAction::Allow,
        SeccompAction::Trap,
        arch,
    )?;
    let mut program = BpfProgram::try_from(nothing)?;
    program.truncate(ARCHITECTURE);
    program.push(statement(BPF_LD | BPF_W | BPF_ABS, NUMBER));
    program.extend(search(&ranges(calls, otherwise)));
    Ok(program)
}

/// A number, and what becomes of it and of those that follow.
type Range = (u32, BpfProgram);

/// All numbers there are, in ranges of the same.
fn ranges(calls: BTreeMap<u32, Verdict>, otherwise: &SeccompAction) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut add = |first: u32, block: BpfProgram| {
        if ranges.last().is_none_or(|(_, last)| *last != block) {
            ranges.push((first, block));
        }
    };
    let mut next = 0;
    for (number, verdict) in calls {
        if number > next {
            add(next, vec![answer(otherwise)]);
        }
        add(number, block(verdict, otherwise));
        next = number + 1;
    }
    add(next, vec![answer(otherwise)]);
    ranges
}

/// What is done about a call that has been found.
fn block(verdict: Verdict, otherwise: &SeccompAction) -> BpfProgram {
    let rules = match verdict {
        Verdict::Always(action) => return vec![answer(&action)],
        Verdict::AllowedIf(rules) => rules,
    };
    let mut block = BpfProgram::new();
    for rule in rules {
        block.extend(BpfProgram::from(rule));
        // A rule that does not fit goes on behind this.
        block.push(answer(&SeccompAction::Allow));
    }
    block.push(answer(otherwise));
    block
}

/// Halves them until one is left.
fn search(ranges: &[Range]) -> BpfProgram {
    if let [(_, block)] = ranges {
        return block.clone();
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let Some((first, _)) = above.first() else {
        return BpfProgram::new();
    };
    let below = search(below);
    // A condition reaches 255 instructions, a jump any.
    let mut program = match u8::try_from(below.len()) {
        Ok(length) => vec![from_on(*first, length, 0)],
        Err(_) => vec![
            from_on(*first, 0, 1),
            statement(BPF_JMP | BPF_JA, number(below.len())),
        ],
    };
    program.extend(below);
    program.extend(search(above));
    program
}

fn answer(action: &SeccompAction) -> sock_filter {
    statement(BPF_RET | BPF_K, action.clone().into())
}

/// Skips so many instructions if the number is this or greater, and otherwise others.
fn from_on(first: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter {
        jt: if_so,
        jf: if_not,
        ..statement(BPF_JMP | BPF_JGE | BPF_K, first)
    }
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: 0,
        k,
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or_default()
}
