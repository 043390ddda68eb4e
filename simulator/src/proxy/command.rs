// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TPM commands and responses by their names: Part 2, sections 6.5.2 and 6.6.

use std::fmt::Write;

use tpm2_protocol::data::{TpmCc, TpmRc, TpmRcBase, TpmRcIndex};
use tpm2_protocol::frame::TpmCommand;

use crate::wire::HEADER;

/// The codes of commands that TPMs may have (Part 2, section 6.5.1).
const CODES: std::ops::RangeInclusive<u32> = 0x11F..=0x1FF;

/// The response codes that have no number in them: of version 1, of format one,
/// warnings.
const RESPONSE_CODES: std::ops::RangeInclusive<u32> = 0x000..=0x9FF;

/// The code of a command, or of a response.
pub(super) fn code(frame: &[u8]) -> u32 {
    let code = frame.get(6..HEADER).and_then(|bytes| bytes.try_into().ok());
    code.map_or(0, u32::from_be_bytes)
}

/// What Part 3 calls the command of that code.
pub fn command_name(code: u32) -> String {
    match TpmCc::try_from(code) {
        Ok(known) => known.to_string().replacen("TPM_CC_", "TPM2_", 1),
        Err(_) => format!("command {code:#05x}"),
    }
}

/// The code of a command that Part 3 calls so, or whose code is written so, as
/// `0x155`.
pub fn command_code(name: &str) -> Option<u32> {
    if let Some(digits) = name.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    CODES
        .into_iter()
        .find(|code| TpmCc::try_from(*code).is_ok() && command_name(*code) == name)
}

/// The response code in words, as `TPM_RC_VALUE, parameter 2 (0x2c4)`.
pub fn response_name(code: u32) -> String {
    // What layers above the TPM put there.
    let known = TpmRc::try_from(code & 0xFFFF);
    let Ok(known) = known else {
        return format!("response code {code:#x}");
    };
    let of = match known {
        TpmRc::Fmt1(known) => match known.index {
            Some(TpmRcIndex::Handle(number)) => format!(", handle {number}"),
            Some(TpmRcIndex::Parameter(number)) => format!(", parameter {number}"),
            Some(TpmRcIndex::Session(number)) => format!(", session {number}"),
            None => String::new(),
        },
        _ => String::new(),
    };
    format!("{}{of} ({code:#x})", known.base())
}

/// The response code that is called so (`TPM_RC_RETRY`), or is written so (`0x922`).
pub fn response_code(name: &str) -> Option<u32> {
    if let Some(digits) = name.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    RESPONSE_CODES
        .into_iter()
        .find(|code| TpmRcBase::try_from(*code).is_ok_and(|base| base.to_string() == name))
}

/// A command in a line: its name, its handles, whose authorisation it has.
pub(super) fn describe_command(frame: &[u8]) -> String {
    let mut text = command_name(code(frame));
    let Ok(command) = TpmCommand::cast(frame) else {
        let _ = write!(text, ", malformed");
        return text;
    };
    // TPM2_FlushContext has its handle among the parameters.
    let is_flush = command.cc().is_ok_and(|code| code == TpmCc::FlushContext);
    let handles = if is_flush {
        command.parameters()
    } else {
        command.handles()
    };
    for handle in handles.unwrap_or_default().chunks_exact(4) {
        let _ = write!(text, " {}", handle_name(number(handle)));
    }
    let sessions = command.auth_area().unwrap_or_default();
    if let Some(first) = sessions.first_chunk::<4>() {
        let _ = write!(text, ", by {}", handle_name(number(first)));
    }
    let _ = write!(text, ", {} bytes", frame.len());
    text
}

/// A response to the command of that code in a line: its code, and the handle of what
/// was loaded.
pub(super) fn describe_response(command: u32, frame: &[u8]) -> String {
    if frame.len() < HEADER {
        return format!("{} bytes", frame.len());
    }
    let mut text = response_name(code(frame));
    if code(frame) == 0
        && gives_a_handle(command)
        && let Some(handle) = frame.get(HEADER..HEADER + 4)
    {
        let _ = write!(text, " {}", handle_name(number(handle)));
    }
    let _ = write!(text, ", {} bytes", frame.len());
    text
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_be_bytes)
}

/// Whether the response to it begins with a handle.
fn gives_a_handle(command: u32) -> bool {
    matches!(
        TpmCc::try_from(command),
        Ok(TpmCc::CreatePrimary
            | TpmCc::CreateLoaded
            | TpmCc::Load
            | TpmCc::LoadExternal
            | TpmCc::ContextLoad
            | TpmCc::HmacStart
            | TpmCc::HashSequenceStart
            | TpmCc::StartAuthSession)
    )
}

/// A handle, by the name that Part 2, section 7.4, gives it.
fn handle_name(handle: u32) -> String {
    match handle {
        0x4000_0001 => "TPM_RH_OWNER".into(),
        0x4000_0007 => "TPM_RH_NULL".into(),
        0x4000_0009 => "TPM_RS_PW".into(),
        0x4000_000A => "TPM_RH_LOCKOUT".into(),
        0x4000_000B => "TPM_RH_ENDORSEMENT".into(),
        0x4000_000C => "TPM_RH_PLATFORM".into(),
        other => format!("{other:#010x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (code, name) in [
            (0x131, "TPM2_CreatePrimary"),
            (0x155, "TPM2_HMAC"),
            (0x15B, "TPM2_HMAC_Start"),
            (0x165, "TPM2_FlushContext"),
            (0x13E, "TPM2_SequenceComplete"),
        ] {
            assert_eq!(command_name(code), name);
            assert_eq!(command_code(name), Some(code));
        }
        assert_eq!(command_code("0x155"), Some(0x155));
        assert_eq!(command_code("TPM2_Hmac"), None);
        assert_eq!(command_name(0x7), "command 0x007");
        for (code, name) in [
            (0x922, "TPM_RC_RETRY"),
            (0x908, "TPM_RC_YIELDED"),
            (0x90A, "TPM_RC_TESTING"),
            (0x921, "TPM_RC_LOCKOUT"),
            (0x101, "TPM_RC_FAILURE"),
            (0x902, "TPM_RC_OBJECT_MEMORY"),
            (0x903, "TPM_RC_SESSION_MEMORY"),
        ] {
            assert_eq!(response_code(name), Some(code), "{name}");
            assert_eq!(response_name(code), format!("{name} ({code:#x})"));
        }
        assert_eq!(response_name(0x2C4), "TPM_RC_VALUE, parameter 2 (0x2c4)");
        assert_eq!(response_name(0x9A2), "TPM_RC_BAD_AUTH, session 1 (0x9a2)");
        assert_eq!(response_name(0x7FF), "response code 0x7ff");
        assert_eq!(response_code("TPM_RC_NONE"), None);
    }

    #[test]
    fn frames() {
        let flush = [0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65, 0x80, 0, 0, 0];
        assert_eq!(
            describe_command(&flush),
            "TPM2_FlushContext 0x80000000, 14 bytes"
        );
        let read = [0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x73, 0x81, 0, 0, 1];
        assert_eq!(
            describe_command(&read),
            "TPM2_ReadPublic 0x81000001, 14 bytes"
        );
        let nothing = [0x80, 1, 0, 0, 0, 9, 0, 0, 1, 0x73];
        assert_eq!(describe_command(&nothing), "TPM2_ReadPublic, malformed");
        let loaded = [0x80, 2, 0, 0, 0, 14, 0, 0, 0, 0, 0x80, 0, 0, 0];
        assert_eq!(
            describe_response(0x131, &loaded),
            "TPM_RC_SUCCESS (0x0) 0x80000000, 14 bytes"
        );
        assert_eq!(describe_response(0x131, &loaded[..3]), "3 bytes");
    }
}
