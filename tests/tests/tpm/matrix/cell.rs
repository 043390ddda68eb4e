// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One derivation in which one thing goes wrong.

use std::path::Path;
use std::time::{Duration, Instant};

use tdk_request_key::Failure;
use tdk_simulator::Swtpm;
use tdk_simulator::proxy::{Fault, Plan, Proxy, Rule, command_name};
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::TpmError;
use tpm_derived_keys::{IdentityKey, KeyInfo};

use super::mode::{self, Library, Mode};

/// Where nothing is silent, nothing hangs on how fast this machine is.
const LONG: Duration = Duration::from_mins(2);
/// Where a command is put off for ever, which is told at once.
const PUT_OFF: Duration = Duration::from_secs(15);
/// Where nothing is said, or later: a tenth of it is kept for cleaning up, which is long enough
/// however busy this machine is.
const SILENCE: Duration = Duration::from_mins(1);
/// How much longer than its limit anything may take, on a machine that is busy.
const SLACK: Duration = Duration::from_secs(20);

/// What goes wrong, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrong {
    /// As `tdk-sim proxy` has it.
    pub(super) fault: &'static str,
    /// To how many commands in a row.
    pub(super) times: usize,
    /// How long a derivation may take in which it happens.
    pub(super) takes: Takes,
}

/// How long a derivation takes in which something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// As long as others.
    NoLonger,
    /// Until its limit, asking.
    Asking,
    /// Until its limit, waiting.
    Waiting,
}

impl Takes {
    fn limit(self) -> Duration {
        match self {
            Self::NoLonger => LONG,
            Self::Asking => PUT_OFF,
            Self::Waiting => SILENCE,
        }
    }
}

impl Wrong {
    const fn once(fault: &'static str) -> Self {
        Self {
            fault,
            times: 1,
            takes: Takes::NoLonger,
        }
    }

    const fn silent(fault: &'static str) -> Self {
        Self {
            takes: Takes::Waiting,
            ..Self::once(fault)
        }
    }

    const fn put_off(fault: &'static str) -> Self {
        Self {
            times: usize::MAX,
            takes: Takes::Asking,
            ..Self::once(fault)
        }
    }

    const fn times(fault: &'static str, times: usize) -> Self {
        Self {
            times,
            ..Self::once(fault)
        }
    }

    /// Everything.
    pub(super) const ALL: [Self; 30] = [
        Self::once("rc=TPM_RC_RETRY"),
        Self::once("rc=TPM_RC_YIELDED"),
        Self::once("rc=TPM_RC_TESTING"),
        Self::times("rc=TPM_RC_RETRY", 5),
        Self::put_off("rc=TPM_RC_RETRY"),
        Self::once("rc=TPM_RC_OBJECT_MEMORY"),
        Self::once("rc=TPM_RC_SESSION_MEMORY"),
        Self::put_off("rc=TPM_RC_OBJECT_MEMORY"),
        Self::once("rc=TPM_RC_LOCKOUT"),
        Self::once("rc=TPM_RC_FAILURE"),
        Self::times("rc=TPM_RC_FAILURE", usize::MAX),
        Self::once("rc=0x7ff"),
        Self::once("delay=20"),
        Self::once("close"),
        Self::once("cut=0"),
        Self::once("cut=5"),
        Self::once("cut=12"),
        Self::silent("hang"),
        Self::silent("drop"),
        Self::silent("delay=70000"),
        Self::once("duplicate"),
        Self::once("corrupt=0"),
        Self::once("corrupt=2"),
        Self::once("corrupt=9"),
        Self::once("corrupt=13"),
        Self::once("corrupt=17"),
        Self::once("corrupt=40"),
        Self::once("corrupt=9999"),
        Self::once("power-cycle"),
        Self::once("reset"),
    ];

    /// What the page calls it.
    pub(super) fn name(self) -> String {
        match self.times {
            1 => self.fault.into(),
            usize::MAX => format!("{}, for ever", self.fault),
            times => format!("{}, {times} times", self.fault),
        }
    }

    /// It changes what the TPM says, but not how long it is or whether it succeeded.
    fn spoils_parameters(self) -> bool {
        ["corrupt=17", "corrupt=40"].contains(&self.fault)
    }

    fn rule(self, place: usize) -> Rule {
        let last = place.saturating_add(self.times - 1);
        let rule = match last {
            usize::MAX => format!("any@{place}..:{}", self.fault),
            last => format!("any@{place}..{last}:{}", self.fault),
        };
        rule.parse().unwrap()
    }
}

/// A derivation, and what goes wrong in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'a> {
    pub(super) mode: Mode,
    /// Of the TPM.
    pub(super) state: &'a Path,
    /// The right key.
    pub(super) expected: &'a [u8],
    pub(super) by: Library,
    /// Which of the commands, from 1.
    pub(super) place: usize,
    pub(super) command: u32,
    pub(super) wrong: Wrong,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `key`, or the errno that the asker gets.
    pub(super) answer: String,
    /// Something was left in the TPM until the next request.
    pub(super) left: bool,
    /// What may never be.
    pub(super) holes: Vec<String>,
}

/// What an identity key is told by: a key that is made of it.
fn told(key: &IdentityKey) -> Vec<u8> {
    let request = Request::parse(b"user", b"tpm2:derived:x", b"32 id").unwrap();
    key.expand(&KeyInfo::from(&request)).as_bytes().to_vec()
}

fn answer(result: Result<IdentityKey, TpmError>, expected: &[u8]) -> String {
    match result {
        Ok(key) if told(&key) == expected => "key".into(),
        Ok(_) => "WRONG KEY".into(),
        Err(error) => Failure::from(error).errno().name().into(),
    }
}

/// The right key, without anything between, and the commands that it takes.
pub(super) fn undisturbed(mode: Mode, by: Library, state: &Path) -> (Vec<u8>, Vec<u32>) {
    let tpm = mode::tpm(state);
    let proxy = Proxy::before(&tpm)
        .plan(Plan::script(mode.rules()))
        .start()
        .unwrap();
    let key = mode.derive(by, &proxy.tcti(), LONG).unwrap();
    (told(&key), proxy.commands())
}

fn is_anything_loaded(tpm: &Swtpm) -> bool {
    !tpm.transient_handles().unwrap().is_empty() || !tpm.session_handles().unwrap().is_empty()
}

impl Cell<'_> {
    /// Has it go wrong, and sees what comes of it.
    pub(super) fn run(self) -> Outcome {
        let tpm = mode::tpm(self.state);
        let mut rules = vec![self.wrong.rule(self.place)];
        rules.extend(self.mode.rules());
        let proxy = Proxy::before(&tpm)
            .plan(Plan::script(rules))
            .start()
            .unwrap();
        let hold = self.wrong.takes.limit();
        let start = Instant::now();
        let result = self.mode.derive(self.by, &proxy.tcti(), hold);
        let taken = start.elapsed();
        let mut holes = Vec::new();
        if taken > hold + SLACK {
            holes.push(format!("took {taken:?}"));
        }
        let answer = answer(result, self.expected);

        // It did happen, to this command, and as often as it was to.
        let fault: Fault = self.wrong.fault.parse().unwrap();
        let (fired, this) = (proxy.fired(), (command_name(self.command), fault));
        let times = fired.iter().filter(|fired| **fired == this).count();
        let enough = match self.wrong.times {
            usize::MAX => times > 0,
            finite => times == finite,
        };
        if !enough {
            holes.push(format!("happened {times} times, of {fired:?}"));
        }

        // As firmware would, after a TPM has reset itself; TPM_RC_INITIALIZE else.
        tpm.send(&[0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0])
            .unwrap();
        let left = is_anything_loaded(&tpm);
        proxy.set_plan(Plan::script(self.mode.rules()));
        let next = self.mode.derive(Library::Direct, &proxy.tcti(), LONG);
        let next = self::answer(next, self.expected);
        if next != "key" {
            holes.push(format!("the next request got {next}"));
        }
        // Only root takes turns, and so can tell what is others'.
        if is_anything_loaded(&tpm) && rustix::process::geteuid().is_root() {
            holes.push("something is left after the next request".into());
        }
        // Nobody but whoever encrypts can see that it is not what the TPM has sent.
        if answer == "WRONG KEY" && !(self.mode.is_plain() && self.wrong.spoils_parameters()) {
            holes.push("a wrong key".into());
        }
        Outcome {
            answer,
            left,
            holes,
        }
    }
}
