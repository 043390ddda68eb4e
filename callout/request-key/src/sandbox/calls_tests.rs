// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The filter beside the same as three plain lists, which seccompiler compiles.

use seccompiler::{SeccompFilter, TargetArch, sock_filter};

use super::*;

/// `struct seccomp_data`, without the address of the instruction.
struct Call {
    number: u32,
    arch: u32,
    arguments: [u64; 6],
}

impl Call {
    /// The four bytes that are loaded from there.
    fn load(&self, at: u32) -> u32 {
        let half = |value: u64, upper: bool| {
            u32::try_from(if upper {
                value >> 32
            } else {
                value & 0xFFFF_FFFF
            })
            .unwrap()
        };
        match at {
            0 => self.number,
            4 => self.arch,
            16..64 if at.is_multiple_of(4) => {
                let argument = usize::try_from((at - 16) / 8).unwrap();
                half(self.arguments[argument], at % 8 == 4)
            }
            _ => panic!("nothing is at {at}"),
        }
    }
}

/// What a filter says, as the kernel runs it, and after how many steps.
fn run(program: &[sock_filter], call: &Call) -> (u32, usize) {
    let (mut at, mut a) = (0, 0_u32);
    for steps in 1.. {
        let step = &program[at];
        at += 1;
        let jump = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
        let code = u32::from(step.code);
        if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
            a = call.load(step.k);
        } else if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K {
            a &= step.k;
        } else if code == libc::BPF_JMP | libc::BPF_JA {
            at += usize::try_from(step.k).unwrap();
        } else if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K {
            at += jump(a == step.k);
        } else if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K {
            at += jump(a >= step.k);
        } else if code == libc::BPF_RET | libc::BPF_K {
            return (step.k, steps);
        } else {
            panic!("instruction {code:#x}");
        }
    }
    unreachable!("no filter has a way back")
}

/// Three filters, of which the kernel takes whichever says the worst.
fn as_lists(needs: &Needs<'_>) -> [BpfProgram; 3] {
    let list = |rules: Rules, otherwise: SeccompAction, action: SeccompAction| {
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter = SeccompFilter::new(rules, otherwise, action, arch).unwrap();
        BpfProgram::try_from(filter).unwrap()
    };
    let errno = |errno: c_int| SeccompAction::Errno(errno.unsigned_abs());
    let clone3 = plain(&[libc::SYS_clone3]);
    let mut allowed = allowed(needs).unwrap();
    allowed.extend(clone3.clone());
    [
        list(clone3, SeccompAction::Allow, errno(libc::ENOSYS)),
        list(plain(HOSTILE), SeccompAction::Allow, SeccompAction::Trap),
        list(allowed, errno(libc::EPERM), SeccompAction::Allow),
    ]
}

/// The worst is the least, as a number with a sign.
fn worst(lists: &[BpfProgram; 3], call: &Call) -> u32 {
    let said = lists.iter().map(|list| run(list, call).0);
    said.min_by_key(|said| said.cast_signed()).unwrap()
}

/// What conditions ask for, and what is next to it.
fn values(needs: &Needs<'_>) -> Vec<u64> {
    let mut values = vec![0, 1, 2, 3, 1 << 31, 1 << 32, u64::MAX, 1 << 28, 1 << 29];
    let asked: Vec<u64> = [
        number(needs.key),
        u64::from(std::process::id()),
        number(libc::PROT_EXEC),
        number(libc::CLONE_NEWUSER | libc::CLONE_VM),
        number(libc::PR_SET_NAME),
        number(libc::AF_INET6),
        number(libc::SOCK_STREAM | libc::SOCK_CLOEXEC),
    ]
    .into_iter()
    .chain(CONTROLS)
    .chain(KEY_OPERATIONS.iter().map(|operation| (*operation).into()))
    .collect();
    for value in asked {
        // What 32 bits of it say, too.
        values.extend([value, value + 1, value | 1 << 32]);
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// The numbers of this architecture's calls, those beyond, and those of x32.
fn numbers() -> impl Iterator<Item = u32> {
    let x32 = 0x4000_0000;
    (0..1024).chain(x32..x32 + 600).chain([1 << 31, u32::MAX])
}

fn assert_same(needs: &Needs<'_>) {
    let (lists, filter) = (as_lists(needs), program(needs).unwrap());
    let arch = lists[0][1].k;
    let check = |number, arch, arguments| {
        let call = Call {
            number,
            arch,
            arguments,
        };
        let expected = worst(&lists, &call);
        assert_eq!(run(&filter, &call).0, expected, "{number} {arguments:x?}");
    };
    // i386's, arm's, none's.
    for other in [0x4000_0003, 0x4000_0028, 0] {
        numbers().for_each(|number| check(number, other, [0; 6]));
    }
    let values = values(needs);
    for number in numbers() {
        check(number, arch, [0; 6]);
        check(number, arch, [u64::MAX; 6]);
        if number > 1024 {
            continue;
        }
        for place in 0..6 {
            for value in &values {
                let mut arguments = [0; 6];
                arguments[place] = *value;
                check(number, arch, arguments);
            }
        }
    }
    // Those that are asked for two arguments or three.
    for number in [libc::SYS_keyctl, libc::SYS_socket, libc::SYS_sendto].map(numbered) {
        for first in &values {
            for second in &values {
                for third in [0, 1] {
                    check(number, arch, [*first, *second, third, 0, 0, 0]);
                    check(number, arch, [third, 0, 0, *first, *second, 0]);
                }
            }
        }
    }
}

#[test]
fn says_what_plain_lists_say() {
    for tcti in [
        "device:/dev/tpmrm0",
        "swtpm:path=/run/x",
        "swtpm:host=127.0.0.1,port=2321",
        "swtpm:host=::1,port=2321",
    ] {
        let tcti: Tcti = tcti.parse().unwrap();
        assert_same(&Needs {
            tcti: &tcti,
            locks: None,
            permissions: false,
            key: 0x1234_5678,
        });
    }
}

/// What it was made for: the kernel runs it for each number.
#[test]
fn few_steps_to_each_call() {
    let tcti: Tcti = "swtpm:path=/run/x".parse().unwrap();
    let needs = Needs {
        tcti: &tcti,
        locks: None,
        permissions: false,
        key: 7,
    };
    let (filter, rules) = (program(&needs).unwrap(), allowed(&needs).unwrap());
    let arch = filter[1].k;
    let looks_at_arguments = |number: u32| {
        let rules = rules.get(&c_long::from(number));
        rules.is_some_and(|rules| !rules.is_empty())
    };
    for number in numbers().filter(|number| !looks_at_arguments(*number)) {
        let call = Call {
            number,
            arch,
            arguments: [0; 6],
        };
        // The architecture, the number, seven or eight halves, the answer.
        let (_, steps) = run(&filter, &call);
        assert!(steps <= 3 + 1 + 8 + 2, "{number}: {steps}");
    }
}
