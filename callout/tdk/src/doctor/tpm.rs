// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The TPM, and whether keys from it are stable.
//!
//! It is asked in three connections, each with the time that one request has:
//! about itself; for one derivation, but of a digest that is nobody's; and for
//! another one, which has to come to the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tpm_derived_keys::config::{Config, ConfigError};
use tpm_derived_keys::tpm::{
    Bus, Direct, Name, OwnerAuth, Patience, Probe, Properties, RootKey, Tcti, TpmError, Trust,
};

use crate::Place;
use crate::error::Error;

use super::is_root;
use super::report::{Check, Finding, Report, Status};

/// How long to wait for others: not as long as a request, which has nothing
/// better to do.
const TURN: Duration = Duration::from_secs(10);

/// Everything that needs a connection.
pub(super) const CHECKS: [Check; 10] = [
    Check::Answer,
    Check::Hierarchy,
    Check::OwnerAuth,
    Check::Lockout,
    Check::Leftovers,
    Check::Conversation,
    Check::Root,
    Check::Enrolment,
    Check::Hmac,
    Check::Time,
];

/// What needs a conversation, and then the root key.
const TRIAL: [Check; 5] = [
    Check::Conversation,
    Check::Root,
    Check::Enrolment,
    Check::Hmac,
    Check::Time,
];

/// Asks the TPM. Gives what kept it from being asked to the end.
pub(super) fn examine(
    report: &mut Report,
    tcti: &Tcti,
    patience: &Patience,
    trust: &Known,
    password: &Password,
) -> Option<TpmError> {
    let patience = Patience {
        turn: TURN.min(patience.turn),
        ..*patience
    };
    // Another root key is not to keep from telling what it is.
    let anybody = Trust {
        root: None,
        ..trust.trust()
    };
    let about_itself = Direct::open(tcti, &patience, &anybody);
    let about_itself =
        about_itself.and_then(|mut tpm| Ok((tpm.properties()?, tpm.root_keys_left()?)));
    let (properties, left) = match about_itself {
        Ok(answers) => answers,
        Err(error) => {
            report.add(failed(Check::Answer, &error));
            report.depend(&CHECKS[1..], Check::Answer);
            return Some(error);
        }
    };
    report.add(answer(&properties));
    let hierarchy = hierarchy(&properties);
    let is_off = hierarchy.status == Status::Wrong;
    report.add(hierarchy);

    let anybody = Trust {
        owner_auth: password.known(),
        ..anybody
    };
    let open = || Direct::open(tcti, &patience, &anybody);
    let mut owner_auth = password.judge(&properties);
    // What is known of the password or the policy is tried once.
    let trial = (!is_off && owner_auth.status == Status::Ok).then(|| {
        open()
            .and_then(|mut tpm| derive(&mut tpm))
            .and_then(|first| open().and_then(|mut tpm| Ok((first, try_again(&mut tpm)?))))
    });
    if let Some(Err(error @ (TpmError::OwnerAuth { .. } | TpmError::OwnerPolicy { .. }))) = &trial {
        owner_auth = failed(Check::OwnerAuth, error);
    }
    let is_refused = owner_auth.status != Status::Ok;
    report.add(owner_auth);
    report.add(lockout(&properties));
    report.add(leftovers(&left));
    let Some(trial) = trial.filter(|_| !is_refused) else {
        let on = if is_off {
            Check::Hierarchy
        } else {
            Check::OwnerAuth
        };
        report.depend(&TRIAL, on);
        return None;
    };

    match trial {
        Ok((first, second)) => {
            report.add(conversation(&anybody));
            let root = root(first.name, second.name);
            let hmac = match root.status {
                Status::Ok => hmac(&first, &second.sign),
                _ => Check::Hmac.depends_on(Check::Root),
            };
            report.add(root);
            report.add(enrolment(trust, first.name));
            report.add(hmac);
            report.add(time(&first));
            None
        }
        Err(error @ (TpmError::OtherStorageKey { .. } | TpmError::NotEncrypted { .. })) => {
            report.add(failed(Check::Conversation, &error));
            report.depend(&TRIAL[1..], Check::Conversation);
            Some(error)
        }
        Err(error) => {
            report.add(Check::Conversation.depends_on(Check::Root));
            report.add(failed(Check::Root, &error));
            report.depend(&TRIAL[2..], Check::Root);
            Some(error)
        }
    }
}

/// What is known of the owner's password or policy.
pub(super) enum Password {
    /// None is needed.
    None,
    Known(Arc<OwnerAuth>),
    /// It can't be read.
    Faulty(Error),
}

impl Password {
    /// What the callout knows; what `tdk` would, of another TPM.
    pub(super) fn new(place: &Place, config: Option<&Config>) -> Self {
        let found = match config {
            Some(config) if place.tcti.is_none() => config.owner_auth().map_err(Error::from),
            _ => place.owner_auth(),
        };
        match found {
            Ok(None) => Self::None,
            Ok(Some(auth)) => Self::Known(Arc::new(auth)),
            Err(error) => Self::Faulty(error),
        }
    }

    fn known(&self) -> Option<Arc<OwnerAuth>> {
        match self {
            Self::Known(auth) => Some(Arc::clone(auth)),
            Self::None | Self::Faulty(_) => None,
        }
    }

    fn judge(&self, properties: &Properties) -> Finding {
        let check = Check::OwnerAuth;
        match (self, properties.owner_auth_set) {
            (Self::None, false) => check.ok("the owner hierarchy has no password"),
            (Self::None, true) => check.wrong(
                "the owner hierarchy has a password, and the callout does not know it",
                "put it into a file that only root can read, and owner_auth = \"/FILE\" into the \
                 configuration: docs/owner-auth.md",
            ),
            (Self::Known(auth), _) if auth.policy().is_some() => {
                check.ok(format!("the owner hierarchy is opened by {auth}"))
            }
            (Self::Known(auth), true) => check.ok(format!(
                "the owner hierarchy has a password, which is in {auth}"
            )),
            (Self::Known(auth), false) => check.wrong(
                format!("the owner hierarchy has no password, but {auth} has one for it"),
                "leave owner_auth out of the configuration",
            ),
            (Self::Faulty(Error::Config(error)), _)
                if error.is_permission_denied() && !is_root() =>
            {
                check.not_checked(error.to_string(), "run it as root")
            }
            (Self::Faulty(Error::Config(error)), _) => check.wrong(error.to_string(), error.hint()),
            (Self::Faulty(error), _) => {
                check.wrong(error.to_string(), "docs/owner-auth.md says what is needed")
            }
        }
    }
}

/// What is known of the TPM.
pub(super) enum Known {
    /// What the configuration and `tdk enroll` say of it.
    Configured(Trust),
    /// They can't be read.
    Faulty(Bus, ConfigError),
    /// Nothing: it is another TPM than the configured one.
    Another(Bus),
}

impl Known {
    pub(super) fn new(config: Option<&Config>, is_another: bool) -> Self {
        let Some(config) = config else {
            return Self::Another(Bus::default());
        };
        if is_another {
            return Self::Another(config.bus());
        }
        match config.known() {
            Ok(trust) => Self::Configured(trust),
            Err(error) => Self::Faulty(config.bus(), error),
        }
    }

    fn trust(&self) -> Trust {
        match self {
            Self::Configured(trust) => trust.clone(),
            Self::Faulty(bus, _) | Self::Another(bus) => Trust {
                bus: *bus,
                ..Trust::default()
            },
        }
    }
}

fn conversation(trust: &Trust) -> Finding {
    let check = Check::Conversation;
    match trust {
        Trust {
            bus: Bus::Plain, ..
        } => check.warning(
            "it is not encrypted (bus = \"plain\"): whoever listens between processor and TPM \
             has the keys",
            "bus = \"encrypted\", unless nobody can",
        ),
        Trust { srk: None, .. } => check.note(
            "it is encrypted, but to a storage key that is not known: this stops listeners, and \
             nobody who answers in the TPM's place",
            "tdk enroll",
        ),
        Trust { srk: Some(_), .. } => check.ok("it is encrypted to the enrolled storage key"),
    }
}

fn enrolment(known: &Known, found: Name) -> Finding {
    let check = Check::Enrolment;
    match known {
        Known::Configured(Trust {
            root: Some(name), ..
        }) if *name == found => check.ok("the root key is the enrolled one"),
        Known::Configured(Trust {
            root: Some(name), ..
        }) => {
            let error = TpmError::OtherRoot {
                enrolled: *name,
                found,
            };
            failed(check, &error)
        }
        Known::Configured(Trust { root: None, .. }) => check.note(
            "no TPM is enrolled, so that nobody notices when keys are another's or new",
            "tdk enroll",
        ),
        Known::Faulty(_, error) => check.wrong(error.to_string(), error.hint()),
        Known::Another(_) => check.not_checked(
            "this is another TPM than the configured one",
            "leave out --tcti",
        ),
    }
}

/// What the TPM did not do: wrong, unless it is us who may not ask it, or others
/// who are at it.
fn failed(check: Check, error: &TpmError) -> Finding {
    let seen = error.to_string();
    match error {
        TpmError::Open { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied && !is_root() =>
        {
            check.not_checked(seen, error.hint())
        }
        TpmError::TurnLimit(_) => check.warning(seen, error.hint()),
        _ => check.wrong(seen, error.hint()),
    }
}

fn answer(properties: &Properties) -> Finding {
    let [first, second] = properties.firmware;
    Check::Answer.ok(format!(
        "{}, firmware {first:08x}.{second:08x}",
        properties.model,
    ))
}

fn hierarchy(properties: &Properties) -> Finding {
    if properties.owner_enabled {
        return Check::Hierarchy.ok("the owner hierarchy is on");
    }
    Check::Hierarchy.wrong(
        "the owner hierarchy is off",
        "switch the TPM's owner (storage) hierarchy on in the firmware setup, or restart",
    )
}

fn lockout(properties: &Properties) -> Finding {
    let Properties {
        in_lockout,
        lockout_counter,
        max_auth_fail,
        ..
    } = properties;
    let count = format!("{lockout_counter} wrong passwords of {max_auth_fail}");
    if *in_lockout {
        return Check::Lockout.remark(format!(
            "locked out ({count}), which is harmless here: the root key is exempt"
        ));
    }
    Check::Lockout.ok(format!("not locked out ({count})"))
}

fn leftovers(handles: &[u32]) -> Finding {
    let [first, ..] = handles else {
        return Check::Leftovers.ok("no root key is left in the TPM");
    };
    let shown: Vec<_> = handles
        .iter()
        .map(|handle| format!("0x{handle:08x}"))
        .collect();
    Check::Leftovers.warning(
        format!(
            "a killed process has left root keys in the TPM: {}",
            shown.join(", ")
        ),
        format!("tpm2_flushcontext 0x{first:08x}, or restart"),
    )
}

/// What the TPM makes of the digest; `None` if it lacks the command.
type Probed = Result<Option<Probe>, TpmError>;

/// What a derivation comes to.
struct First {
    name: Name,
    /// By TPM2_HMAC, or by what takes its place.
    hmac: Probed,
    has_hmac: bool,
    time: Duration,
}

/// The commands of a request.
fn derive(tpm: &mut Direct) -> Result<First, TpmError> {
    let start = Instant::now();
    let mut root = RootKey::create(tpm)?;
    let name = root.name();
    let mut hmac = root.probe_hmac();
    let has_hmac = !matches!(hmac, Ok(None));
    if !has_hmac {
        hmac = root.probe_sign();
    }
    root.flush()?;
    Ok(First {
        name,
        hmac,
        has_hmac,
        time: start.elapsed(),
    })
}

/// What has to come to the same.
struct Second {
    name: Name,
    sign: Probed,
}

fn try_again(tpm: &mut Direct) -> Result<Second, TpmError> {
    let mut root = RootKey::create(tpm)?;
    let name = root.name();
    let sign = root.probe_sign();
    root.flush()?;
    Ok(Second { name, sign })
}

fn root(first: Name, second: Name) -> Finding {
    if first == second {
        return Check::Root.ok(format!("made twice, it is {first}"));
    }
    Check::Root.wrong(
        format!("made twice, it is {first} and {second}: no key from this TPM is stable"),
        "look for a firmware update, and don't use this TPM",
    )
}

fn hmac(first: &First, sign: &Probed) -> Finding {
    let check = Check::Hmac;
    match (&first.hmac, sign) {
        (Ok(Some(hmac)), Ok(Some(sign))) if !hmac.is_same(sign) => check.wrong(
            "TPM2_HMAC and TPM2_Sign differ: no key from this TPM can be relied on",
            "look for a firmware update, and don't use this TPM",
        ),
        (Ok(Some(_)), Ok(Some(_))) if first.has_hmac => check.ok("TPM2_HMAC and TPM2_Sign agree"),
        (Ok(Some(_)), Ok(Some(_))) => {
            check.remark("the TPM has no TPM2_HMAC; keys come from what gives the same")
        }
        (Ok(Some(_)), Ok(None)) => {
            check.remark("the TPM has no TPM2_Sign to compare TPM2_HMAC with")
        }
        (Ok(Some(_)), Err(error)) => check.remark(format!(
            "TPM2_HMAC works, and there is nothing to compare it with: {error}"
        )),
        (Err(error), _) => failed(check, error),
        (Ok(None), _) => check.wrong(
            "the TPM has neither TPM2_HMAC nor TPM2_Sign",
            "look for a firmware update",
        ),
    }
}

fn time(first: &First) -> Finding {
    match first.hmac {
        Ok(Some(_)) => Check::Time.ok(format!(
            "one derivation took {:.1} ms",
            first.time.as_secs_f64() * 1000.0
        )),
        _ => Check::Time.depends_on(Check::Hmac),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_keeps_a_tpm_from_being_asked() {
        let opening = |kind: io::ErrorKind| TpmError::Open {
            tcti: "device:/dev/tpmrm0".into(),
            hint: "look",
            source: kind.into(),
        };
        let status = |error: &TpmError| failed(Check::Answer, error).status;
        assert_eq!(status(&TpmError::TurnLimit(TURN)), Status::Warning);
        assert_eq!(status(&opening(io::ErrorKind::NotFound)), Status::Wrong);
        let denied = status(&opening(io::ErrorKind::PermissionDenied));
        let expected = if is_root() {
            Status::Wrong
        } else {
            Status::NotChecked
        };
        assert_eq!(denied, expected);
        assert!(
            failed(Check::Answer, &TpmError::TurnLimit(TURN))
                .remedy
                .is_some()
        );
    }
}
