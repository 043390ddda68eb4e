// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Askers who have not asked: what the callout would see of them.

use tpm_derived_keys::identity::{Kind, Subject};
use tpm_derived_keys::policy::{Policy, Source};

use crate::asker::{Asker, Checked};
use crate::failure::Failure;

/// A thread, looked at and checked as if it waited for a key.
#[derive(Debug)]
pub struct Observed(Checked);

impl Observed {
    /// Looks at a thread (a process' id is that of its first), by its id in the
    /// initial PID namespace.
    ///
    /// # Errors
    ///
    /// What an asker would be refused for before any policy is asked; or that
    /// there is no such thread.
    pub fn of_thread(thread: u32) -> Result<Self, Failure> {
        let asker = Asker::of_thread(thread)?;
        let uid = asker.fsuid()?;
        Ok(Self(asker.check(uid)?))
    }

    /// The filesystem uid.
    pub fn uid(&self) -> u32 {
        self.0.uid()
    }

    /// What no rule of a policy can allow, whoever asks for it.
    ///
    /// # Errors
    ///
    /// Which doubt there is about the asker.
    pub fn rule_out(&self, policy: &Policy, kind: Kind) -> Result<(), Failure> {
        Ok(policy.rule_out(kind, self.0.doubts())?)
    }

    /// What it can be known by.
    ///
    /// # Errors
    ///
    /// Why it can't.
    pub fn subject(&self, kind: Kind) -> Result<Subject, Failure> {
        Ok(self.0.subject(kind)?)
    }

    /// What a policy may want to know besides.
    pub fn facts(&self) -> impl Source {
        &self.0
    }
}
