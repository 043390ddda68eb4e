// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why there is no key: an errno for the asker, a sentence for the log.

use std::fmt;

use tpm_derived_keys::config::{ConfigError, LogLevel};
use tpm_derived_keys::det_keygen::DetKeygenError;
use tpm_derived_keys::identity::IdentityError;
use tpm_derived_keys::policy::{PolicyError, Refusal};
use tpm_derived_keys::request::RequestError;
use tpm_derived_keys::tpm::{Cause, TpmError};

use crate::record::Kind;

/// The errnos that askers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// EACCES: policy or identity refused, or the TPM's owner has a password.
    Refused,
    /// EINVAL: the request is malformed.
    Malformed,
    /// ENODEV: no TPM, or its owner hierarchy is switched off.
    NoTpm,
    /// EKEYREVOKED: the TPM, or its owner seed, is not the enrolled one.
    OtherSeed,
    /// EAGAIN: the TPM is busy or locked out; try later.
    Later,
    /// EDQUOT: the asker's quota of keys has no room for this one.
    Quota,
    /// EKEYREJECTED: anything else.
    Failed,
}

impl Errno {
    /// The number.
    pub fn value(self) -> i32 {
        match self {
            Self::Refused => libc::EACCES,
            Self::Malformed => libc::EINVAL,
            Self::NoTpm => libc::ENODEV,
            Self::OtherSeed => libc::EKEYREVOKED,
            Self::Later => libc::EAGAIN,
            Self::Quota => libc::EDQUOT,
            Self::Failed => libc::EKEYREJECTED,
        }
    }

    /// The name in errno(3).
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "EACCES",
            Self::Malformed => "EINVAL",
            Self::NoTpm => "ENODEV",
            Self::OtherSeed => "EKEYREVOKED",
            Self::Later => "EAGAIN",
            Self::Quota => "EDQUOT",
            Self::Failed => "EKEYREJECTED",
        }
    }

    /// What it is called in the log.
    pub(crate) fn decision(self) -> &'static str {
        match self {
            Self::Refused | Self::Malformed => "refused",
            Self::NoTpm | Self::OtherSeed | Self::Later | Self::Quota | Self::Failed => "failed",
        }
    }

    /// What kind of record the log has of it.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Refused | Self::Malformed => Kind::Refused,
            Self::NoTpm | Self::OtherSeed | Self::Later | Self::Quota | Self::Failed => {
                Kind::Failed
            }
        }
    }

    /// How much it matters.
    pub(crate) fn level(self) -> LogLevel {
        match self {
            Self::Refused | Self::Malformed | Self::Quota => LogLevel::Warning,
            Self::NoTpm | Self::OtherSeed | Self::Later | Self::Failed => LogLevel::Error,
        }
    }

    /// For how many seconds the kernel is to repeat the answer without asking
    /// us again: longer for what will not change by itself.
    pub(crate) fn lifetime(self) -> u32 {
        match self {
            Self::Refused | Self::OtherSeed => 30,
            Self::Malformed | Self::NoTpm | Self::Later | Self::Quota | Self::Failed => 5,
        }
    }
}

/// A request that got no key.
#[derive(Debug)]
pub struct Failure {
    errno: Errno,
    message: String,
    hint: String,
    /// The rule of the policy that refuses.
    rule: Option<String>,
}

impl Failure {
    /// A failure with what to do about it (which may be empty).
    pub fn new(errno: Errno, message: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self {
            errno,
            message: message.to_string(),
            hint: hint.into(),
            rule: None,
        }
    }

    /// What the asker gets.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    pub(crate) fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, ": {}", self.hint)?;
        }
        Ok(())
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let hint = error.hint();
        Self::new(Errno::Malformed, error, hint)
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::new(Errno::Refused, error, "")
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let hint = refusal.hint();
        let rule = Some(refusal.by().to_owned()).filter(|rule| !rule.is_empty());
        Self {
            rule,
            ..Self::new(Errno::Refused, refusal, hint)
        }
    }
}

impl From<DetKeygenError> for Failure {
    fn from(error: DetKeygenError) -> Self {
        Self::new(Errno::Failed, error, "")
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        Self::new(Errno::Failed, error, hint)
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        let hint = error.hint();
        Self::new(Errno::Failed, error, hint)
    }
}

impl From<TpmError> for Failure {
    fn from(error: TpmError) -> Self {
        let errno = match error.cause() {
            Cause::NoTpm => Errno::NoTpm,
            Cause::OwnerAuth => Errno::Refused,
            Cause::Busy => Errno::Later,
            Cause::OtherSeed => Errno::OtherSeed,
            Cause::Other => Errno::Failed,
        };
        let hint = error.hint();
        Self::new(errno, error, hint)
    }
}
