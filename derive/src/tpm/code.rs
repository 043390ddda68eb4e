// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TPM response codes in words: Part 2, section 6.6.

use std::fmt;

use tpm2_protocol::data::{TpmRc, TpmRcBase, TpmRcIndex};

use super::{Cause, Command};

/// A response code other than TPM_RC_SUCCESS, as it came over the wire. Bits 16
/// and up tell which layer above the TPM it comes from, where there is one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResponseCode(u32);

impl ResponseCode {
    /// What resource managers, the kernel's among them, put into the upper half
    /// of codes of their own: TSS2_RESMGR_RC_LAYER, TSS2_RESMGR_TPM_RC_LAYER.
    const RESOURCE_MANAGER: [u32; 2] = [11, 12];

    /// Takes the code from a response header; `None` for TPM_RC_SUCCESS.
    pub fn new(code: u32) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    /// The code as it came.
    pub fn value(self) -> u32 {
        self.0
    }

    fn decoded(self) -> Option<TpmRc> {
        TpmRc::try_from(self.0 & 0xFFFF).ok()
    }

    pub(super) fn base(self) -> Option<TpmRcBase> {
        self.decoded().map(|code| code.base())
    }

    /// Whether the TPM asks for the same command again.
    pub(super) fn is_retry(self) -> bool {
        matches!(
            self.base(),
            Some(
                TpmRcBase::Retry
                    | TpmRcBase::Yielded
                    | TpmRcBase::Testing
                    | TpmRcBase::Canceled
                    | TpmRcBase::NvRate
            )
        )
    }

    /// Whether the TPM has no room for an object.
    pub(super) fn is_out_of_slots(self) -> bool {
        matches!(
            self.base(),
            Some(
                TpmRcBase::ObjectMemory
                    | TpmRcBase::ObjectHandles
                    | TpmRcBase::SessionMemory
                    | TpmRcBase::SessionHandles
                    | TpmRcBase::Memory
            )
        )
    }

    /// Whether something that was loaded is there no more: the TPM has been reset, or
    /// somebody has flushed it.
    pub(super) fn is_lost(self) -> bool {
        matches!(
            self.base(),
            Some(
                TpmRcBase::ReferenceH0
                    | TpmRcBase::ReferenceH1
                    | TpmRcBase::ReferenceH2
                    | TpmRcBase::ReferenceS0
                    | TpmRcBase::ReferenceS1
                    | TpmRcBase::ReferenceS2
            )
        )
    }

    /// Whether the TPM does not implement the command.
    pub(super) fn is_unimplemented(self) -> bool {
        self.base() == Some(TpmRcBase::CommandCode)
    }

    /// Whether there is nothing at the handle of the command.
    pub(super) fn is_nothing_there(self) -> bool {
        self.base() == Some(TpmRcBase::Handle)
    }

    /// Whether the TPM does not implement an algorithm that the command names, or
    /// not with those parameters.
    pub(super) fn is_unknown_algorithm(self) -> bool {
        matches!(
            self.base(),
            Some(
                TpmRcBase::Asymmetric
                    | TpmRcBase::Curve
                    | TpmRcBase::Hash
                    | TpmRcBase::Kdf
                    | TpmRcBase::KeySize
                    | TpmRcBase::Mode
                    | TpmRcBase::Scheme
                    | TpmRcBase::Symmetric
                    | TpmRcBase::Type
            )
        )
    }

    /// Whether the policy session did not do what the policy asks for, or there is no
    /// policy.
    pub(super) fn is_wrong_policy(self) -> bool {
        matches!(
            self.base(),
            Some(TpmRcBase::PolicyFail | TpmRcBase::AuthUnavailable)
        )
    }

    /// Whether the password that was sent along was wrong.
    pub(super) fn is_wrong_password(self) -> bool {
        matches!(self.base(), Some(TpmRcBase::BadAuth | TpmRcBase::AuthFail))
    }

    pub(super) fn cause(self) -> Cause {
        if self.is_retry() || self.is_out_of_slots() || self.is_lost() {
            return Cause::Busy;
        }
        match self.base() {
            Some(TpmRcBase::Hierarchy | TpmRcBase::Initialize | TpmRcBase::BadTag) => Cause::NoTpm,
            Some(
                TpmRcBase::BadAuth
                | TpmRcBase::AuthFail
                | TpmRcBase::AuthMissing
                | TpmRcBase::AuthUnavailable
                | TpmRcBase::PolicyFail,
            ) => Cause::OwnerAuth,
            Some(
                TpmRcBase::Lockout
                | TpmRcBase::NvUnavailable
                | TpmRcBase::PcrChanged
                | TpmRcBase::Reboot,
            ) => Cause::Busy,
            _ => Cause::Other,
        }
    }

    pub(super) fn hint(self) -> &'static str {
        match self.base() {
            Some(TpmRcBase::Hierarchy) => {
                "switch the TPM's owner (storage) hierarchy on in the firmware setup"
            }
            Some(TpmRcBase::Initialize) => "the firmware or the kernel has to start the TPM first",
            Some(TpmRcBase::BadTag) => "a TPM 2.0 is needed; this one speaks TPM 1.2",
            Some(TpmRcBase::Lockout) => {
                "wait until the lockout ends, or end it with tpm2_dictionarylockout"
            }
            Some(TpmRcBase::PcrChanged) => "ask again: a PCR was extended at the same moment",
            Some(TpmRcBase::Failure | TpmRcBase::NeedsTest) => {
                "power-cycle the machine; if it stays so, the TPM is broken"
            }
            Some(TpmRcBase::Reboot | TpmRcBase::Upgrade) => "restart the machine",
            _ if self.is_lost() => {
                "ask again: the TPM has been reset, or somebody has flushed what was loaded"
            }
            _ => match self.cause() {
                Cause::OwnerAuth => {
                    "the owner hierarchy has a password: put it into a file that only root can \
                     read, and owner_auth = \"/FILE\" into /etc/tdk/config.toml, or name it to tdk by \
                     --owner-auth-file; if it is opened by a policy of PCRs, owner_policy says which"
                }
                Cause::Busy => "ask again later; see who keeps the TPM busy",
                Cause::NoTpm | Cause::OtherSeed | Cause::Other => {
                    "tpm2_rc_decode explains the code; look for a firmware update"
                }
            },
        }
    }

    /// The code in words, with the handle, parameter or session of `command`
    /// that it is about.
    pub(super) fn describe(self, command: Command) -> String {
        let index = match self.decoded() {
            Some(TpmRc::Fmt1(code)) => code.index,
            _ => None,
        };
        let (what, number, name) = match index {
            Some(TpmRcIndex::Handle(n)) => ("handle", n, command.handle(n)),
            Some(TpmRcIndex::Parameter(n)) => ("parameter", n, command.parameter(n)),
            Some(TpmRcIndex::Session(n)) => ("session", n, command.session(n)),
            None => return self.to_string(),
        };
        match name {
            Some(name) => format!("{self}; {what} {number} ({name})"),
            None => format!("{self}; {what} {number}"),
        }
    }
}

/// `NAME (0xCODE), sentence`.
impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.base() {
            Some(base) => write!(f, "{base} (0x{:x}), {}", self.0, sentence(base))?,
            None => write!(
                f,
                "response code 0x{:x}, which Part 2 does not define",
                self.0
            )?,
        }
        match self.0 >> 16 {
            0 => Ok(()),
            layer if Self::RESOURCE_MANAGER.contains(&layer) => {
                write!(f, " (says the resource manager)")
            }
            layer => write!(f, " (says software layer {layer})"),
        }
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseCode(0x{:x})", self.0)
    }
}

/// What a code means, for those a derivation can meet.
fn sentence(base: TpmRcBase) -> &'static str {
    match base {
        TpmRcBase::Initialize => "the TPM has not been started up",
        TpmRcBase::Failure => "the TPM is in failure mode",
        TpmRcBase::BadTag => "the TPM does not know the tag of a TPM 2.0 command",
        TpmRcBase::Disabled => "the command is disabled",
        TpmRcBase::AuthType => "the authorization is of the wrong type",
        TpmRcBase::AuthMissing => "an authorization is missing",
        TpmRcBase::AuthUnavailable => "the authorization can't be used here",
        TpmRcBase::Reboot => "the TPM has to be restarted first",
        TpmRcBase::Upgrade => "the TPM is in the middle of a firmware upgrade",
        TpmRcBase::CommandSize => "the command has the wrong size",
        TpmRcBase::CommandCode => "the TPM does not implement the command",
        TpmRcBase::AuthSize => "the authorization has the wrong size",
        TpmRcBase::NeedsTest => "the TPM has to test itself first",
        TpmRcBase::Asymmetric
        | TpmRcBase::Curve
        | TpmRcBase::Hash
        | TpmRcBase::Mode
        | TpmRcBase::Scheme
        | TpmRcBase::Symmetric
        | TpmRcBase::Type => "the TPM does not support the algorithm",
        TpmRcBase::Attributes => "the attributes don't fit",
        TpmRcBase::Value => "a value is out of range or does not fit",
        TpmRcBase::Hierarchy => "the hierarchy is switched off",
        TpmRcBase::KeySize => "the TPM does not support the key size",
        TpmRcBase::Handle => "the handle does not fit the command",
        TpmRcBase::AuthFail => "the authorization is wrong",
        TpmRcBase::BadAuth => "the authorization is wrong, or missing where one is set",
        TpmRcBase::Size => "a structure has the wrong size",
        TpmRcBase::Tag => "a structure has the wrong tag",
        TpmRcBase::Insufficient => "the command is too short",
        TpmRcBase::ReservedBits => "reserved bits are set",
        TpmRcBase::PolicyFail => "a policy was not satisfied",
        TpmRcBase::ObjectMemory => "the TPM has no memory left for objects",
        TpmRcBase::SessionMemory => "the TPM has no memory left for sessions",
        TpmRcBase::Memory => "the TPM has no memory left",
        TpmRcBase::ObjectHandles => "the TPM has no object handles left",
        TpmRcBase::SessionHandles => "the TPM has no session handles left",
        TpmRcBase::Locality => "the command is not allowed from here",
        TpmRcBase::Yielded => "the TPM put the command off",
        TpmRcBase::Canceled => "the command was cancelled",
        TpmRcBase::Testing => "the TPM is testing itself",
        TpmRcBase::ReferenceH0 => "the object is not loaded",
        TpmRcBase::ReferenceS0 => "the session is not loaded",
        TpmRcBase::NvRate => "the TPM spares its non-volatile memory",
        TpmRcBase::Lockout => "the TPM is locked out after wrong authorizations",
        TpmRcBase::Retry => "the TPM was not ready",
        TpmRcBase::NvUnavailable => "the TPM can't write its non-volatile memory just now",
        _ => "the TPM refused the command",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: u32) -> ResponseCode {
        ResponseCode::new(code).unwrap()
    }

    #[test]
    fn in_words() {
        let describe = |raw, command| code(raw).describe(command);
        assert_eq!(
            describe(0x185, Command::CreatePrimary),
            "TPM_RC_HIERARCHY (0x185), the hierarchy is switched off; \
             handle 1 (primaryHandle, the owner hierarchy)"
        );
        assert_eq!(
            describe(0x9A2, Command::CreatePrimary),
            "TPM_RC_BAD_AUTH (0x9a2), the authorization is wrong, or missing where one is set; \
             session 1 (the owner's authorization)"
        );
        assert_eq!(
            describe(0x2C4, Command::CreatePrimary),
            "TPM_RC_VALUE (0x2c4), a value is out of range or does not fit; \
             parameter 2 (inPublic)"
        );
        assert_eq!(
            describe(0x922, Command::Hmac),
            "TPM_RC_RETRY (0x922), the TPM was not ready"
        );
        assert_eq!(
            describe(0x000B_0143, Command::Hmac),
            "TPM_RC_COMMAND_CODE (0xb0143), the TPM does not implement the command \
             (says the resource manager)"
        );
        assert_eq!(
            describe(0xFFFF_FFFE, Command::Hmac),
            "response code 0xfffffffe, which Part 2 does not define (says software layer 65535)"
        );
    }

    #[test]
    fn causes() {
        for (raw, cause) in [
            (0x185, Cause::NoTpm),
            (0x100, Cause::NoTpm),
            (0x01E, Cause::NoTpm),
            (0x9A2, Cause::OwnerAuth),
            (0x98E, Cause::OwnerAuth),
            (0x910, Cause::Busy),
            (0x918, Cause::Busy),
            (0x921, Cause::Busy),
            (0x922, Cause::Busy),
            (0x902, Cause::Busy),
            (0x101, Cause::Other),
            (0x12F, Cause::OwnerAuth),
            (0x7_0001, Cause::Other),
        ] {
            assert_eq!(code(raw).cause(), cause, "{:?}", code(raw));
            assert!(!code(raw).hint().is_empty());
        }
    }

    #[test]
    fn the_layer_does_not_hide_the_code() {
        assert!(code(0x143).is_unimplemented());
        assert!(code(0x000B_0143).is_unimplemented());
    }
}
