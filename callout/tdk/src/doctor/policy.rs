// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The policy: who may have which key.

use std::path::Path;

use tpm_derived_keys::config::Config;
use tpm_derived_keys::policy::{Action, Policy};
use tpm_derived_keys::trust::{way_to, weak_spot};

use super::is_root;
use super::report::{Check, Finding};
use super::request_key::OurLine;

/// Looks at the policy beside the configuration that our line names, or that `tdk` was
/// told of.
pub(super) fn examine(line: Option<&OurLine>, named: Option<&Path>) -> Finding {
    let named = named.or_else(|| line.and_then(|line| line.config.as_deref()));
    let check = Check::Policy;
    match Policy::load(Config::directory(named)) {
        Ok(policy) => judge(&policy),
        Err(error) if error.is_permission_denied() && !is_root() => {
            check.not_checked(error.to_string(), "run it as root")
        }
        Err(error) => check.wrong(error.to_string(), error.hint()),
    }
}

fn judge(policy: &Policy) -> Finding {
    let check = Check::Policy;
    // Others than root believe themselves, too; the callout does not believe them.
    let mut ways = policy.files().filter_map(|(file, _)| way_to(file).ok());
    if let Some(weak) = ways.find_map(|way| weak_spot(&way)) {
        return check.wrong(weak.to_string(), weak.remedy());
    }
    let default = match policy.default_action() {
        Action::Allow => "every key that is bound to its asker's uid",
        Action::Deny => "no key",
    };
    let files = policy.files().count();
    let rules: usize = policy.files().map(|(_, rules)| rules).sum();
    check.ok(match files {
        0 => format!("there is none, so by default: {default}"),
        _ => format!(
            "{rules} rule{} in {files} file{}, and by default: {default}",
            plural(rules),
            plural(files)
        ),
    })
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;

    #[test]
    fn what_there_is() {
        let told = |policy: &Policy| {
            let finding = judge(policy);
            (finding.status, finding.seen)
        };
        let (status, seen) = told(&Policy::shipped());
        let expected = "there is none, so by default: every key that is bound to its asker's uid";
        assert_eq!((status, seen.as_str()), (Status::Ok, expected));
        let text = "default = \"deny\"\n[[rule]]\naction = \"allow\"\n";
        let (status, seen) = told(&Policy::parse(text).unwrap());
        let expected = "1 rule in 1 file, and by default: no key";
        assert_eq!((status, seen.as_str()), (Status::Ok, expected));
    }
}
