// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong with a TPM, in words.

use std::fmt;
use std::io;
use std::time::Duration;

use super::{Name, ResponseCode};

/// A TPM command that a derivation sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// TPM2_CreatePrimary, Part 3 section 24.1.
    CreatePrimary,
    /// TPM2_StartAuthSession, Part 3 section 11.1.
    StartAuthSession,
    /// TPM2_PolicyPCR, Part 3 section 23.7.
    PolicyPcr,
    /// TPM2_HMAC, Part 3 section 15.5.
    Hmac,
    /// TPM2_HMAC_Start, Part 3 section 17.2.
    HmacStart,
    /// TPM2_SequenceComplete, Part 3 section 17.5.
    SequenceComplete,
    /// TPM2_Sign, Part 3 section 20.2.
    Sign,
    /// TPM2_FlushContext, Part 3 section 28.4.
    FlushContext,
    /// TPM2_GetCapability, Part 3 section 30.2.
    GetCapability,
    /// TPM2_ReadPublic, Part 3 section 12.4.
    ReadPublic,
}

impl Command {
    /// The name in Part 3.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreatePrimary => "TPM2_CreatePrimary",
            Self::StartAuthSession => "TPM2_StartAuthSession",
            Self::PolicyPcr => "TPM2_PolicyPCR",
            Self::Hmac => "TPM2_HMAC",
            Self::HmacStart => "TPM2_HMAC_Start",
            Self::SequenceComplete => "TPM2_SequenceComplete",
            Self::Sign => "TPM2_Sign",
            Self::FlushContext => "TPM2_FlushContext",
            Self::GetCapability => "TPM2_GetCapability",
            Self::ReadPublic => "TPM2_ReadPublic",
        }
    }

    /// What Part 3 calls the command's handle of that number, from 1.
    pub(super) fn handle(self, number: u8) -> Option<&'static str> {
        match (self, number) {
            (Self::CreatePrimary, 1) => Some("primaryHandle, the owner hierarchy"),
            (Self::StartAuthSession, 1) => Some("tpmKey, the storage key"),
            (Self::PolicyPcr, 1) => Some("policySession"),
            (Self::Hmac | Self::HmacStart, 1) => Some("handle, the root key"),
            (Self::SequenceComplete, 1) => Some("sequenceHandle"),
            (Self::Sign, 1) => Some("keyHandle, the root key"),
            (Self::ReadPublic, 1) => Some("objectHandle"),
            _ => None,
        }
    }

    /// What Part 3 calls the command's parameter of that number, from 1.
    pub(super) fn parameter(self, number: u8) -> Option<&'static str> {
        let names: &[&str] = match self {
            Self::CreatePrimary => &["inSensitive", "inPublic", "outsideInfo", "creationPCR"],
            Self::StartAuthSession => &[
                "nonceCaller",
                "encryptedSalt",
                "sessionType",
                "symmetric",
                "authHash",
            ],
            Self::PolicyPcr => &["pcrDigest", "pcrs"],
            Self::Hmac => &["buffer", "hashAlg"],
            Self::HmacStart => &["auth", "hashAlg"],
            Self::SequenceComplete => &["buffer", "hierarchy"],
            Self::Sign => &["digest", "inScheme", "validation"],
            Self::FlushContext => &["flushHandle"],
            Self::GetCapability => &["capability", "property", "propertyCount"],
            Self::ReadPublic => &[],
        };
        names.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Whose authorization the command's session of that number, from 1, is.
    pub(super) fn session(self, number: u8) -> Option<&'static str> {
        match (self, number) {
            (Self::CreatePrimary, 1) => Some("the owner's authorization"),
            (Self::Hmac | Self::HmacStart | Self::Sign, 1) => Some("the root key's authorization"),
            _ => None,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What stands behind a [`TpmError`], as far as it matters for what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is no TPM to use, or its owner hierarchy is switched off.
    NoTpm,
    /// The owner hierarchy asks for an authorization.
    OwnerAuth,
    /// It may work later: busy, locked out, not answering, just reset.
    Busy,
    /// It is not the TPM, or not with the owner seed, that is known.
    OtherSeed,
    /// Anything else.
    Other,
}

/// A derivation's trouble with a TPM.
#[derive(Debug)]
#[non_exhaustive]
pub enum TpmError {
    /// The TPM could not be reached.
    Open {
        /// Where it was looked for.
        tcti: String,
        /// What to do if there is none.
        hint: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The lock file could not be made or locked.
    Lock(io::Error),
    /// Others had the TPM for longer than one may wait.
    TurnLimit(Duration),
    /// The TPM did not answer in time.
    Deadline {
        /// What it did not answer.
        command: Command,
        /// How long it was waited for, all commands together.
        limit: Duration,
    },
    /// The connection ended before the answer.
    Closed {
        /// What was not answered.
        command: Command,
    },
    /// Reading or writing failed.
    Io {
        /// What was sent.
        command: Command,
        /// What the system said.
        source: io::Error,
    },
    /// The TPM answered, with an error.
    Response {
        /// What was sent.
        command: Command,
        /// What came back.
        code: ResponseCode,
    },
    /// The TPM's owner hierarchy has another password than the one that is known, if it
    /// has one at all.
    OwnerAuth {
        /// Where the password is from.
        from: String,
        /// Not even tried: the TPM has refused it before.
        again: bool,
    },
    /// The TPM's owner hierarchy has another policy than the one that is known, or that
    /// is not fulfilled.
    OwnerPolicy {
        /// The PCRs that it was thought to be about.
        policy: String,
        /// What came back from TPM2_CreatePrimary.
        code: ResponseCode,
    },
    /// The root key is another than the one that is known.
    OtherRoot {
        /// The Name that is known.
        enrolled: Name,
        /// The one that was found.
        found: Name,
    },
    /// The storage key is another than the one that is known.
    OtherStorageKey {
        /// The Name that is known.
        enrolled: Name,
        /// The one that was found.
        found: Name,
    },
    /// The conversation can't be encrypted with this TPM.
    NotEncrypted {
        /// What it lacks.
        lacks: &'static str,
        /// What was sent.
        command: Command,
        /// What came back.
        code: ResponseCode,
    },
    /// Who answered does not have the storage key, or somebody changed the answer.
    Forged {
        /// What was sent.
        command: Command,
    },
    /// What came back is no TPM 2.0 response to the command.
    Malformed {
        /// What was sent.
        command: Command,
        /// What is wrong with it.
        what: String,
    },
}

impl TpmError {
    /// What stands behind it.
    pub fn cause(&self) -> Cause {
        use io::ErrorKind;
        match self {
            Self::Open { source, .. } => match source.kind() {
                ErrorKind::ResourceBusy | ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                    Cause::Busy
                }
                ErrorKind::PermissionDenied => Cause::Other,
                _ => Cause::NoTpm,
            },
            Self::TurnLimit(_) | Self::Deadline { .. } | Self::Closed { .. } | Self::Io { .. } => {
                Cause::Busy
            }
            // What was loaded is gone: the TPM has been reset.
            Self::Response {
                command: Command::FlushContext,
                code,
            } if code.is_nothing_there() => Cause::Busy,
            Self::Response { code, .. } => code.cause(),
            Self::OwnerAuth { .. } | Self::OwnerPolicy { .. } => Cause::OwnerAuth,
            Self::OtherRoot { .. } | Self::OtherStorageKey { .. } => Cause::OtherSeed,
            Self::Lock(_)
            | Self::Malformed { .. }
            | Self::NotEncrypted { .. }
            | Self::Forged { .. } => Cause::Other,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root, or as a user who may open the TPM"
            }
            Self::Open { .. } if self.cause() == Cause::Busy => {
                "ask again later; see who uses the TPM, and restart it if it stays silent"
            }
            Self::Open { hint, .. } => hint,
            Self::Lock(_) => "check that /run/tdk can be made and belongs to root",
            Self::TurnLimit(_) => "ask again later; see who keeps the TPM busy",
            Self::Deadline { .. } => "ask again later; if it stays silent, restart the TPM",
            Self::Closed { .. } | Self::Io { .. } => {
                "ask again; if it happens again, make sure that this is a TPM, and look at its log or \
                 the kernel's"
            }
            Self::Response { code, .. } => code.hint(),
            Self::Malformed { .. } => "make sure that a TPM 2.0 is at the other end",
            Self::OwnerAuth { .. } => {
                "put the right password there, or none if the owner hierarchy has none; touch \
                 the file to have the same one tried once more"
            }
            Self::OwnerPolicy { .. } => {
                "boot what the policy is for, or set the owner hierarchy's policy anew \
                 (tpm2_setprimarypolicy): docs/owner-auth.md"
            }
            Self::OtherRoot { .. } => {
                "the TPM's owner hierarchy was cleared, or this is another machine; tdk enroll \
                 --force makes it the known one, and the keys of the old one are gone"
            }
            Self::OtherStorageKey { .. } => {
                "the TPM's owner hierarchy was cleared, this is another machine, a storage key \
                 of another template was removed from 0x81000001, or somebody answers in the \
                 TPM's place; tdk enroll --force makes it the known one"
            }
            Self::NotEncrypted { .. } => {
                "bus = \"plain\" in /etc/tdk/config.toml does without, where nobody can listen \
                 between processor and TPM; look for a firmware update"
            }
            Self::Forged { .. } => {
                "make sure that nobody is between processor and TPM; if the TPM was reset \
                 meanwhile, ask again"
            }
        }
    }
}

impl fmt::Display for TpmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { tcti, source, .. } => write!(f, "can't open the TPM at {tcti}: {source}"),
            Self::Lock(source) => write!(f, "can't lock the TPM: {source}"),
            Self::TurnLimit(limit) => {
                write!(f, "others have held the TPM for {} s", limit.as_secs_f32())
            }
            Self::Deadline { command, limit } => write!(
                f,
                "{command}: the TPM has not answered within {} s",
                limit.as_secs_f32()
            ),
            Self::Closed { command } => {
                write!(
                    f,
                    "{command}: the TPM closed the connection without an answer"
                )
            }
            Self::Io { command, source } => {
                write!(f, "{command}: can't talk to the TPM: {source}")
            }
            Self::Response { command, code } => {
                write!(f, "{command}: {}", code.describe(*command))
            }
            Self::OwnerAuth { from, again: false } => {
                write!(f, "the TPM refused the owner's password from {from}")
            }
            Self::OwnerAuth { from, again: true } => write!(
                f,
                "the TPM has refused the owner's password from {from} before, and is not asked again"
            ),
            Self::OwnerPolicy { policy, code } => write!(
                f,
                "the TPM refused {policy} ({code}): the owner hierarchy's policy is another, or \
                 asks for other values of these PCRs"
            ),
            Self::OtherRoot { enrolled, found } => write!(
                f,
                "the TPM's root key is {found}, and not the known {enrolled}"
            ),
            Self::OtherStorageKey { enrolled, found } => write!(
                f,
                "the TPM's storage key is {found}, and not the known {enrolled}"
            ),
            Self::NotEncrypted {
                lacks,
                command,
                code,
            } => write!(
                f,
                "the conversation with this TPM can't be encrypted, it lacks {lacks}: {command}: {}",
                code.describe(*command)
            ),
            Self::Forged { command } => write!(
                f,
                "{command}: the answer is not from the TPM with the storage key, or was changed"
            ),
            Self::Malformed { command, what } => {
                write!(f, "{command}: the answer is no TPM 2.0 response: {what}")
            }
        }
    }
}

impl std::error::Error for TpmError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Io { source, .. } | Self::Lock(source) => {
                Some(source)
            }
            _ => None,
        }
    }
}
