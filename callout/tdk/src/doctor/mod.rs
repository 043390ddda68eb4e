// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk doctor`.
//!
//! Each area has a file. What looks at the system is thin; what judges takes
//! what was seen, and is tested with that. Nothing is changed.

use std::process::ExitCode;

use tpm_derived_keys::config::Config;
use tpm_derived_keys::tpm::TpmError;

use crate::error::Error;
use crate::place::{Backend, Place, Way};
use crate::{leave_if_hanging, print};

mod access;
mod callout;
mod kernel;
mod lock;
mod policy;
mod report;
mod request;
mod request_key;
mod request_key_conf;
mod tpm;

pub(crate) use kernel::lacks_private_key_parser;
use report::{Check, Report};
use tpm::{Known, Password};

/// Looks at everything that has to be true for requests to work and keys to be stable
///
/// One line each: ok, note (as it may be), warning, wrong or not checked; what was seen; and what
/// to do about it. Nothing is changed. Exit status 1 if something is wrong. docs/doctor.md explains
/// each line.
#[derive(clap::Args)]
pub(crate) struct Doctor {
    /// Print a JSON array of objects with id, status, seen and remedy
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(&self, place: &Place) -> Result<ExitCode, Error> {
        let mut report = Report::default();
        let left = examine(&mut report, place)?;
        let text = if self.json {
            format!("{:#}\n", report.to_json())
        } else {
            report.to_text()
        };
        print(text.as_bytes())?;
        left.iter().for_each(leave_if_hanging);
        Ok(if report.is_wrong() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// Looks at everything. What the TPM was left with, if it could not be asked.
fn examine(report: &mut Report, place: &Place) -> Result<Option<TpmError>, Error> {
    let key_types = kernel::examine(report);
    let line = request_key::examine(report, &key_types);
    callout::examine_program(report, line.as_ref());
    let config = callout::examine_config(report, line.as_ref(), place.config.as_deref());
    report.add(policy::examine(line.as_ref(), place.config.as_deref()));
    report.add(lock::examine());
    let left = examine_tpm(report, place, config.as_ref())?;
    // The callout's own, and not another that was named here.
    let callouts = line.and_then(|line| line.config);
    let is_callouts = place.tcti.is_none() && (place.config.is_none() || place.config == callouts);
    let request = request::examine(report, config.as_ref().filter(|_| is_callouts));
    report.add(request);
    Ok(left)
}

fn examine_tpm(
    report: &mut Report,
    place: &Place,
    config: Option<&Config>,
) -> Result<Option<TpmError>, Error> {
    let way = match (&place.tcti, place.backend, config) {
        (None, None | Some(Backend::Direct), Some(config)) => Way::Direct(config.tcti()),
        (Some(_), ..) | (None, Some(Backend::Tss), Some(_)) => place.way()?,
        (None, _, None) => {
            report.depend(&[Check::Device, Check::Access], Check::CalloutConfig);
            report.depend(&tpm::CHECKS, Check::CalloutConfig);
            return Ok(None);
        }
    };
    let tcti = match way {
        Way::Direct(tcti) => tcti,
        Way::Tss(_) => {
            for check in [Check::Device, Check::Access].iter().chain(&tpm::CHECKS) {
                report.add(check.not_checked(
                    format!("{way} by libtss2 is nothing that the callout uses"),
                    "name a device or a software TPM, without --backend tss",
                ));
            }
            return Ok(None);
        }
    };
    if !access::examine(report, &tcti) {
        report.depend(&tpm::CHECKS, Check::Device);
        return Ok(None);
    }
    let patience = config.map(Config::patience).unwrap_or_default();
    let known = Known::new(config, place.tcti.is_some());
    let password = Password::new(place, config);
    Ok(tpm::examine(report, &tcti, &patience, &known, &password))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
