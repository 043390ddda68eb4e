// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The few TPM 2.0 commands this crate sends, as bytes.
//!
//! Section numbers and names are those of the TPM 2.0 Library Specification:
//! structures and constants in Part 2, commands in Part 3.

/// Bytes in the header of a command or a response: tag (2), size (4), command
/// or response code (4).
pub(crate) const HEADER: usize = 10;

/// `TPM_RC_SUCCESS`.
pub(crate) const RC_SUCCESS: u32 = 0;

/// `TPM_HT_TRANSIENT`, as the first handle of that range.
pub(crate) const TRANSIENT_FIRST: u32 = 0x8000_0000;

/// `TPM_HT_LOADED_SESSION`, as the first handle of that range.
pub(crate) const LOADED_SESSION_FIRST: u32 = 0x0200_0000;

/// `TPM_RH_OWNER`.
const RH_OWNER: u32 = 0x4000_0001;
/// `TPM_RH_LOCKOUT`.
const RH_LOCKOUT: u32 = 0x4000_000a;
/// `TPM_RH_PLATFORM`.
const RH_PLATFORM: u32 = 0x4000_000c;
/// `TPM_RS_PW`, the handle of a password authorization.
const RS_PW: u32 = 0x4000_0009;

/// `TPM_ST_RSP_COMMAND`, the tag of an answer to a command with a bad tag.
const ST_RSP_COMMAND: u16 = 0x00c4;
/// `TPM_ST_NO_SESSIONS`.
const ST_NO_SESSIONS: u16 = 0x8001;
/// `TPM_ST_SESSIONS`.
const ST_SESSIONS: u16 = 0x8002;

const CC_HIERARCHY_CONTROL: u32 = 0x0121;
const CC_CLEAR: u32 = 0x0126;
const CC_HIERARCHY_CHANGE_AUTH: u32 = 0x0129;
const CC_DICTIONARY_ATTACK_PARAMETERS: u32 = 0x013a;
const CC_STARTUP: u32 = 0x0144;
const CC_SHUTDOWN: u32 = 0x0145;
const CC_GET_CAPABILITY: u32 = 0x017a;

/// `TPM_CAP_HANDLES`.
const CAP_HANDLES: u32 = 1;
/// `TPM_SU_CLEAR`.
const SU_CLEAR: u16 = 0;
/// `NO` as a `TPMI_YES_NO`.
const NO: u8 = 0;

/// More bytes than any response has. swtpm's buffer is of 4096.
const RESPONSE_MAX: usize = 65_536;

/// `TPM2_Shutdown` with `TPM_SU_CLEAR`.
pub(crate) fn shutdown() -> Vec<u8> {
    frame(ST_NO_SESSIONS, CC_SHUTDOWN, &SU_CLEAR.to_be_bytes())
}

/// `TPM2_Startup` with `TPM_SU_CLEAR`.
pub(crate) fn startup() -> Vec<u8> {
    frame(ST_NO_SESSIONS, CC_STARTUP, &SU_CLEAR.to_be_bytes())
}

/// `TPM2_GetCapability` for as many handles as there are, `first` and above.
pub(crate) fn get_handles(first: u32) -> Vec<u8> {
    let body = [CAP_HANDLES, first, u32::MAX].map(u32::to_be_bytes);
    frame(ST_NO_SESSIONS, CC_GET_CAPABILITY, &body.concat())
}

/// `TPM2_HierarchyChangeAuth` for the owner, whose authorization is empty so
/// far. `None` if `auth` does not fit in a `TPM2B_AUTH`.
pub(crate) fn set_owner_auth(auth: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(auth.len()).ok()?;
    let parameters = [&length.to_be_bytes(), auth].concat();
    Some(authorized(CC_HIERARCHY_CHANGE_AUTH, RH_OWNER, &parameters))
}

/// `TPM2_HierarchyControl` that disables the owner hierarchy, authorized by
/// the platform's empty authorization.
pub(crate) fn disable_owner() -> Vec<u8> {
    let parameters = [RH_OWNER.to_be_bytes().as_slice(), &[NO]].concat();
    authorized(CC_HIERARCHY_CONTROL, RH_PLATFORM, &parameters)
}

/// `TPM2_Clear`, authorized by the platform's empty authorization.
pub(crate) fn clear() -> Vec<u8> {
    authorized(CC_CLEAR, RH_PLATFORM, &[])
}

/// `TPM2_DictionaryAttackParameters`, authorized by the lockout hierarchy's
/// empty authorization: that many wrong authorizations lead to lockout. The
/// times are those of a new TPM.
pub(crate) fn set_max_tries(tries: u32) -> Vec<u8> {
    let parameters = [tries, 1000, 1000].map(u32::to_be_bytes);
    authorized(
        CC_DICTIONARY_ATTACK_PARAMETERS,
        RH_LOCKOUT,
        &parameters.concat(),
    )
}

/// A command with one handle, authorized by the empty password.
fn authorized(code: u32, handle: u32, parameters: &[u8]) -> Vec<u8> {
    // TPMS_AUTH_COMMAND: session handle, nonce (empty), attributes (none),
    // password (empty).
    let auth = [&RS_PW.to_be_bytes()[..], &[0, 0], &[0], &[0, 0]].concat();
    let body = [&handle.to_be_bytes()[..], &length(&auth), &auth, parameters];
    frame(ST_SESSIONS, code, &body.concat())
}

/// A command: header and body.
fn frame(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = tag.to_be_bytes().to_vec();
    frame.extend([0; 4]);
    frame.extend(code.to_be_bytes());
    frame.extend(body);
    let size = length(&frame);
    frame[2..6].copy_from_slice(&size);
    frame
}

/// The length as a `UINT32`. The longest command here has an authorization
/// value of 64 KiB in it.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// How long the response is that begins with `header`, or `None` if this is
/// not the beginning of a response.
pub(crate) fn response_size(header: &[u8]) -> Option<usize> {
    let mut reader = Reader(header);
    let tag = reader.u16()?;
    let size = usize::try_from(reader.u32()?).ok()?;
    let known = [ST_RSP_COMMAND, ST_NO_SESSIONS, ST_SESSIONS].contains(&tag);
    (known && (HEADER..=RESPONSE_MAX).contains(&size)).then_some(size)
}

/// The response code of a complete response.
pub(crate) fn response_code(response: &[u8]) -> Option<u32> {
    Reader(response.get(6..)?).u32()
}

/// The handles in a response to [`get_handles`], and whether there are more.
pub(crate) fn handles(response: &[u8]) -> Option<(Vec<u32>, bool)> {
    let mut reader = Reader(response.get(HEADER..)?);
    let more = reader.u8()? != NO;
    if reader.u32()? != CAP_HANDLES {
        return None;
    }
    let count = reader.u32()?;
    let handles = (0..count).map(|_| reader.u32()).collect::<Option<_>>()?;
    reader.0.is_empty().then_some((handles, more))
}

/// Takes big-endian integers off a response.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_without_sessions() {
        assert_eq!(
            shutdown(),
            [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x45, 0, 0],
            "TPM2_Shutdown"
        );
        assert_eq!(
            get_handles(TRANSIENT_FIRST),
            [
                0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0, 0, 0, 1, 0x80, 0, 0, 0, 0xff, 0xff, 0xff,
                0xff
            ],
            "TPM2_GetCapability"
        );
    }

    #[test]
    fn commands_with_a_password() {
        assert_eq!(
            set_owner_auth(b"abc").expect("short enough"),
            [
                0x80, 2, 0, 0, 0, 32, 0, 0, 1, 0x29, // header
                0x40, 0, 0, 1, // TPM_RH_OWNER
                0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, // password
                0, 3, b'a', b'b', b'c'
            ],
            "TPM2_HierarchyChangeAuth"
        );
        assert_eq!(set_owner_auth(&vec![0; 65_536]), None);
    }

    #[test]
    fn headers() {
        let size = |bytes: &[u8]| response_size(bytes);
        assert_eq!(size(&[0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0]), Some(10));
        assert_eq!(size(&[0x80, 2, 0, 0, 1, 0, 0, 0, 0, 0]), Some(256));
        assert_eq!(size(&[0, 0xc4, 0, 0, 0, 10, 0, 0, 0, 0x1e]), Some(10));
        assert_eq!(size(&[0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0]), None, "short");
        assert_eq!(size(&[0x80, 1, 1, 0, 0, 0, 0, 0, 0, 0]), None, "long");
        assert_eq!(size(b"HTTP/1.1 4"), None, "tag");
        assert_eq!(size(&[0x80]), None, "cut off");
        assert_eq!(
            response_code(&[0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0]),
            Some(0x100)
        );
    }

    #[test]
    fn lists_of_handles() {
        let header = [0x80, 1, 0, 0, 0, 27, 0, 0, 0, 0];
        let body = [1, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0, 0, 0, 0x80, 0, 0, 2];
        let response = [&header[..], &body].concat();
        let expected = (vec![0x8000_0000, 0x8000_0002], true);
        assert_eq!(handles(&response), Some(expected));
        assert_eq!(handles(&response[..26]), None, "cut off");
        assert_eq!(handles(&[&response[..], &[0]].concat()), None, "too long");
        assert_eq!(handles(&header), None, "no list");
    }
}
