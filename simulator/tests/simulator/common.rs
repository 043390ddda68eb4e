// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the tests share: a few raw TPM frames, and a look at processes.

use std::fs;
use std::path::{Path, PathBuf};

use tdk_simulator::{SimError, Swtpm};

/// `TPM_PT_PERMANENT`, whose bit 0 says: the owner has an authorization value.
pub(crate) const PT_PERMANENT: u32 = 0x200;
/// `TPM_PT_STARTUP_CLEAR`, whose bit 1 says: the owner hierarchy is enabled.
pub(crate) const PT_STARTUP_CLEAR: u32 = 0x201;

/// A default TPM.
pub(crate) fn start() -> Swtpm {
    Swtpm::builder().start().expect("a TPM")
}

/// One of the programs that stand for swtpm.
pub(crate) fn program(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    dir.join("tests/programs").join(name)
}

/// Whether there is such a process, be it one that is not reaped yet.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The names of the files in a directory.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    files.sort();
    files
}

/// The bytes that are written so in hexadecimal; spaces do not count.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair: String = pair.iter().collect();
            u8::from_str_radix(&pair, 16).expect("hexadecimal digits")
        })
        .collect()
}

fn u16_at(response: &[u8], at: usize) -> usize {
    usize::from(response[at]) << 8 | usize::from(response[at + 1])
}

/// Four bytes of a response.
pub(crate) fn u32_at(response: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(response[at..at + 4].try_into().expect("four bytes"))
}

/// The response code.
pub(crate) fn code(response: &[u8]) -> u32 {
    u32_at(response, 6)
}

/// The value of a TPM property (`TPM2_GetCapability`).
pub(crate) fn property(tpm: &Swtpm, property: u32) -> u32 {
    let frame = format!("8001 00000016 0000017a 00000006 {property:08x} 00000001");
    let response = tpm.send(&bytes(&frame)).expect("a response");
    assert_eq!(code(&response), 0);
    assert_eq!(u32_at(&response, 19), property);
    u32_at(&response, 23)
}

/// `TPM2_CreatePrimary` in the owner hierarchy, of a key for HMAC with
/// SHA-256: the same key each time, as long as the owner's seed is the same.
/// The object stays loaded.
pub(crate) fn create_primary(tpm: &Swtpm, owner_auth: &[u8]) -> Vec<u8> {
    let auth = [
        bytes("40000009 0000 00"),
        u16::try_from(owner_auth.len())
            .expect("short")
            .to_be_bytes()
            .to_vec(),
        owner_auth.to_vec(),
    ]
    .concat();
    let body = [
        bytes("00000131 40000001"),
        u32::try_from(auth.len())
            .expect("short")
            .to_be_bytes()
            .to_vec(),
        auth,
        // inSensitive: no authorization, no data
        bytes("0004 0000 0000"),
        // inPublic: KEYEDHASH, SHA256; fixedTPM, fixedParent,
        // sensitiveDataOrigin, userWithAuth, sign; no policy; HMAC, SHA256
        bytes("0010 0008 000b 00040072 0000 0005 000b 0000"),
        // outsideInfo, creationPCR: none
        bytes("0000 00000000"),
    ]
    .concat();
    let size = u32::try_from(body.len() + 6).expect("short");
    let frame = [bytes("8002"), size.to_be_bytes().to_vec(), body].concat();
    tpm.send(&frame).expect("a response")
}

/// The Name of the object that [`create_primary`] loads.
pub(crate) fn primary_name(tpm: &Swtpm, owner_auth: &[u8]) -> Vec<u8> {
    let response = create_primary(tpm, owner_auth);
    assert_eq!(code(&response), 0, "{response:02x?}");
    // header, objectHandle, parameterSize
    let mut at = 10 + 4 + 4;
    // outPublic, creationData, creationHash
    for _ in 0..3 {
        at += 2 + u16_at(&response, at);
    }
    // creationTicket: tag, hierarchy, digest
    at += 6;
    at += 2 + u16_at(&response, at);
    // name
    let length = u16_at(&response, at);
    assert_eq!(length, 34);
    response[at + 2..at + 2 + length].to_vec()
}

/// `TPM2_FlushContext`.
pub(crate) fn flush(tpm: &Swtpm, handle: u32) {
    let response = tpm
        .send(&bytes(&format!("8001 0000000e 00000165 {handle:08x}")))
        .expect("a response");
    assert_eq!(code(&response), 0);
}

/// The TPM's response code in an error.
pub(crate) fn refusal(error: &SimError) -> u32 {
    match error {
        SimError::Tpm { code, .. } => *code,
        other => panic!("not refused by the TPM: {other}"),
    }
}
