// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the owner of a software TPM does with it.

use sha2::{Digest, Sha256};
use tdk_simulator::Swtpm;
use tpm_derived_keys::tpm::PcrPolicy;

use crate::middle::cc;

/// A command with the empty password of its first handle.
pub fn command(code: u32, handles: &[u32], parameters: &[u8]) -> Vec<u8> {
    let handles: Vec<u8> = handles
        .iter()
        .flat_map(|handle| handle.to_be_bytes())
        .collect();
    let size = u32::try_from(10 + handles.len() + 13 + parameters.len()).unwrap();
    [
        &[0x80, 0x02][..],
        &size.to_be_bytes(),
        &code.to_be_bytes(),
        &handles,
        &[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0],
        parameters,
    ]
    .concat()
}

/// Sends a command that is to succeed.
pub fn send(tpm: &Swtpm, command: &[u8]) -> Vec<u8> {
    let response = tpm.send(command).unwrap();
    assert_eq!(response[6..10], [0; 4], "{response:02x?}");
    response
}

/// The PCRs of [`close_by_policy`], of two banks.
pub const PCRS: &str = "sha256:0,7+sha1:4";

/// Has the owner hierarchy opened by [`PCRS`] as they are in a TPM that was just started,
/// which is zero; and by a password that nobody knows.
pub fn close_by_policy(tpm: &Swtpm) {
    let selection = PCRS.parse::<PcrPolicy>().unwrap().selection();
    let values = Sha256::digest([0; 32 + 32 + 20]);
    let policy = Sha256::new()
        .chain_update([0; 32])
        .chain_update(cc::POLICY_PCR.to_be_bytes())
        .chain_update(selection)
        .chain_update(values)
        .finalize();
    let parameters = [&[0, 32][..], &policy, &[0, 0x0B]].concat();
    send(tpm, &command(0x12E, &[0x4000_0001], &parameters));
    tpm.set_owner_auth(b"a password that is lost").unwrap();
}

/// Extends a PCR of the bank of SHA-256.
pub fn extend(tpm: &Swtpm, pcr: u32) {
    let parameters = [&[0, 0, 0, 1, 0, 0x0B][..], &[7; 32]].concat();
    send(tpm, &command(0x182, &[pcr], &parameters));
}
