// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What was found, check by check, and how it is told.

use std::fmt::Write;

use serde_json::{Value, json};

/// Makes the list of checks: what a check is called here, and its id, which
/// stays what it is.
macro_rules! checks {
    ($($name:ident = $id:literal),+ $(,)?) => {
        /// One thing that is looked at. `docs/doctor.md` explains each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Check {
            $($name),+
        }

        impl Check {
            /// All of them, in the order in which they are told.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];

            pub(super) fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id),+
                }
            }
        }
    };
}

checks! {
    Keyrings = "kernel.keyrings",
    KeyTypes = "kernel.key-types",
    Quota = "kernel.quota",
    UserNamespaces = "kernel.user-namespaces",
    RequestKey = "request-key.program",
    RequestKeyConfig = "request-key.config",
    Line = "request-key.line",
    OtherLines = "request-key.other-lines",
    Callout = "callout.program",
    CalloutVersion = "callout.version",
    CalloutConfig = "callout.config",
    Policy = "callout.policy",
    Lock = "tpm.lock",
    Device = "tpm.device",
    Access = "tpm.access",
    Answer = "tpm.answer",
    Hierarchy = "tpm.hierarchy",
    OwnerAuth = "tpm.owner-auth",
    Lockout = "tpm.lockout",
    Leftovers = "tpm.leftovers",
    Conversation = "tpm.conversation",
    Root = "tpm.root",
    Enrolment = "tpm.enrolment",
    Hmac = "tpm.hmac",
    Time = "tpm.time",
    Request = "request",
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// As it has to be.
    Ok,
    /// Works; good to know.
    Note,
    /// Works now, and may not for long, or for everybody, or safely.
    Warning,
    /// Requests fail, or keys are not safe or not stable.
    Wrong,
    /// Could not be looked at.
    NotChecked,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
            Self::NotChecked => "not checked",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) check: Check,
    pub(super) status: Status,
    pub(super) seen: String,
    pub(super) remedy: Option<String>,
}

impl Check {
    pub(super) fn ok(self, seen: impl Into<String>) -> Finding {
        self.finding(Status::Ok, seen, None)
    }

    /// Something that is as it may be, and that nothing has to be done about.
    pub(super) fn remark(self, seen: impl Into<String>) -> Finding {
        self.finding(Status::Note, seen, None)
    }

    pub(super) fn note(self, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Status::Note, seen, Some(remedy.into()))
    }

    pub(super) fn warning(self, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Status::Warning, seen, Some(remedy.into()))
    }

    pub(super) fn wrong(self, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Status::Wrong, seen, Some(remedy.into()))
    }

    /// Not looked at, for a reason that `remedy` takes away.
    pub(super) fn not_checked(self, why: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Status::NotChecked, why, Some(remedy.into()))
    }

    /// Not looked at, because of what another line says.
    pub(super) fn depends_on(self, other: Self) -> Finding {
        self.finding(
            Status::NotChecked,
            format!("it depends on {}", other.id()),
            None,
        )
    }

    fn finding(self, status: Status, seen: impl Into<String>, remedy: Option<String>) -> Finding {
        Finding {
            check: self,
            status,
            seen: harmless(seen.into()),
            remedy: remedy.map(harmless),
        }
    }
}

/// File names and what programs print can hold anything; a line is a line.
fn harmless(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escaped = |character: char| {
        if character.is_control() {
            character.escape_default().to_string()
        } else {
            character.to_string()
        }
    };
    text.chars().map(escaped).collect()
}

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Adds the same reason for each of these checks.
    pub(super) fn depend(&mut self, checks: &[Check], on: Check) {
        self.0
            .extend(checks.iter().map(|check| check.depends_on(on)));
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.count(Status::Wrong) > 0
    }

    /// The checks that came to this.
    pub(super) fn all(&self, status: Status) -> impl Iterator<Item = Check> {
        let lines = self.0.iter().filter(move |line| line.status == status);
        lines.map(|line| line.check)
    }

    /// What a check came to, if it has been looked at.
    pub(super) fn status(&self, check: Check) -> Option<Status> {
        let line = self.0.iter().find(|line| line.check == check)?;
        Some(line.status)
    }

    fn count(&self, status: Status) -> usize {
        self.all(status).count()
    }

    /// For people: a line each, and one that sums up.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for line in &self.0 {
            let remedy = line
                .remedy
                .as_ref()
                .map_or(String::new(), |remedy| format!(": {remedy}"));
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{:<11}  {:<23}  {}{remedy}",
                line.status.name(),
                line.check.id(),
                line.seen,
            );
        }
        let counts: Vec<_> = [Status::Wrong, Status::Warning, Status::NotChecked]
            .into_iter()
            .filter(|status| self.count(*status) > 0)
            .map(|status| format!("{} {}", self.count(status), status.name()))
            .collect();
        if counts.is_empty() {
            text.push_str("nothing is wrong\n");
        } else {
            let _ = writeln!(text, "{}", counts.join(", "));
        }
        text
    }

    /// For programs: an array of objects.
    pub(super) fn to_json(&self) -> Value {
        self.0
            .iter()
            .map(|line| {
                json!({
                    "id": line.check.id(),
                    "status": line.status.name(),
                    "seen": line.seen,
                    "remedy": line.remedy,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.add(Check::Keyrings.ok("they are there"));
        report.add(Check::Callout.wrong("x\ny is missing", "install \u{1b}[31m it"));
        report.depend(&[Check::CalloutVersion], Check::Callout);
        report
    }

    #[test]
    fn for_people() {
        assert_eq!(
            report().to_text(),
            "ok           kernel.keyrings          they are there\n\
             wrong        callout.program          x\\ny is missing: install \\u{1b}[31m it\n\
             not checked  callout.version          it depends on callout.program\n\
             1 wrong, 1 not checked\n"
        );
        assert!(report().is_wrong());
        let mut healthy = Report::default();
        healthy.add(Check::UserNamespaces.remark("as it may be"));
        assert!(healthy.to_text().ends_with("\nnothing is wrong\n"));
        assert!(!healthy.is_wrong());
    }

    #[test]
    fn all_are_documented_in_their_order() {
        let page = include_str!("../../../../docs/doctor.md");
        let documented: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let ids: Vec<_> = Check::ALL.iter().map(|check| check.id()).collect();
        assert_eq!(documented, ids);
    }

    #[test]
    fn for_programs() {
        assert_eq!(
            report().to_json(),
            json!([
                {
                    "id": "kernel.keyrings", "status": "ok",
                    "seen": "they are there", "remedy": null,
                },
                {
                    "id": "callout.program", "status": "wrong",
                    "seen": "x\\ny is missing", "remedy": "install \\u{1b}[31m it",
                },
                {
                    "id": "callout.version", "status": "not checked",
                    "seen": "it depends on callout.program", "remedy": null,
                },
            ])
        );
    }
}
