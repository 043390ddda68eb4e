// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A request, all the way and back, and the same key by hand.

use subtle::ConstantTimeEq;
use tdk_client::{Error as AskError, What};
use tpm_derived_keys::KeyInfo;
use tpm_derived_keys::config::Config;
use tpm_derived_keys::identity::{Identity, Scope, Subject};
use tpm_derived_keys::request::{PREFIX, Request};
use tpm_derived_keys::tpm::{Direct, RootKey};

use super::report::{Check, Finding, Report, Status};
use crate::error::Error;

/// The key that is asked for: for this, and nothing else.
const KEY_ID: &str = "tdk-doctor";
const LENGTH: u16 = 32;

/// Asks the kernel. `config` is the callout's, if what it says is to be compared
/// with a key made by hand.
pub(super) fn examine(report: &Report, config: Option<&Config>) -> Finding {
    let check = Check::Request;
    if let Some(on) = hopeless(report) {
        return check.depends_on(on);
    }
    let request = tdk_client::Request::new(KEY_ID, What::Bytes(LENGTH), tdk_client::Identity::Id);
    let key = match request.ask() {
        Ok(key) => key,
        Err(error) => return failed(&error),
    };
    let asked = "a request got its key";
    let can_compare = report.status(Check::Root) == Some(Status::Ok);
    let Some(config) = config.filter(|_| can_compare) else {
        return check.note(
            format!("{asked}; whether it is the right one was not looked at"),
            "run it as root, without --tcti",
        );
    };
    match by_hand(config) {
        Ok(okm) if okm.as_bytes().ct_eq(key.as_bytes()).into() => {
            check.ok(format!("{asked}, which is the same as by hand"))
        }
        Ok(_) => check.wrong(
            format!("{asked}, but it is another than by hand"),
            "see that callout and tdk are of one build; restart what keeps an old TPM's keys",
        ),
        Err(error) => check.warning(
            format!("{asked}, but none could be made by hand: {error}"),
            "run it again",
        ),
    }
}

/// What makes asking useless: whatever is wrong, but for who can use the TPM; or
/// others who keep the TPM busy.
fn hopeless(report: &Report) -> Option<Check> {
    if report.status(Check::Answer) == Some(Status::Warning) {
        return Some(Check::Answer);
    }
    report
        .all(Status::Wrong)
        .find(|check| *check != Check::Access)
}

fn failed(error: &AskError) -> Finding {
    let hint = match error.hint() {
        "" => "see the callout's log: journalctl -t key.tpm2_derived, or dmesg",
        hint => hint,
    };
    Check::Request.wrong(error.to_string(), hint)
}

fn by_hand(config: &Config) -> Result<tpm_derived_keys::Okm, Error> {
    let description = format!("{PREFIX}{KEY_ID}");
    let callout_info = format!("{LENGTH} id");
    let request = Request::parse(b"user", description.as_bytes(), callout_info.as_bytes())?;
    let uid = rustix::process::geteuid().as_raw();
    let identity = Identity::new(Subject::Id, Scope::Uid, uid, config.realm().clone())?;
    let mut tpm = Direct::open(&config.tcti(), &config.patience(), &config.trust()?)?;
    let mut root = RootKey::create(&mut tpm)?;
    let identity_key = root.identity_key(&identity.digest())?;
    root.flush()?;
    Ok(identity_key.expand(&KeyInfo::from(&request)))
}
