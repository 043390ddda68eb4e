// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways to take the owner hierarchy away from a program.

use crate::common::{
    PT_PERMANENT, PT_STARTUP_CLEAR, code, create_primary, primary_name, property, refusal, start,
};

/// `TPM_RC_BAD_AUTH`, session 1.
const RC_BAD_AUTH: u32 = 0x9a2;
/// `TPM_RC_HIERARCHY`, handle 1.
const RC_HIERARCHY: u32 = 0x185;

#[test]
fn owner_auth() {
    let mut tpm = start();
    let name = primary_name(&tpm, b"");
    assert_eq!(property(&tpm, PT_PERMANENT) & 1, 0);

    tpm.set_owner_auth(b"secret").expect("set");
    assert_eq!(property(&tpm, PT_PERMANENT) & 1, 1);
    assert_eq!(code(&create_primary(&tpm, b"")), RC_BAD_AUTH);
    assert_eq!(primary_name(&tpm, b"secret"), name);

    tpm.restart().expect("restarted");
    assert_eq!(code(&create_primary(&tpm, b"")), RC_BAD_AUTH);
    assert_eq!(primary_name(&tpm, b"secret"), name);

    // It was not empty any more.
    let error = tpm.set_owner_auth(b"other").expect_err("refused");
    assert_eq!(refusal(&error), RC_BAD_AUTH, "{error}");
}

#[test]
fn owner_auth_of_any_length() {
    let tpm = start();
    let error = tpm.set_owner_auth(&[1; 100]).expect_err("too long");
    assert_ne!(refusal(&error), 0, "{error}");
    tpm.set_owner_auth(&vec![1; 100_000])
        .expect_err("too long for a TPM2B");
    tpm.set_owner_auth(&[1; 32]).expect("set");
    primary_name(&tpm, &[1; 32]);
}

#[test]
fn owner_hierarchy_off() {
    let mut tpm = start();
    let name = primary_name(&tpm, b"");
    assert_eq!(property(&tpm, PT_STARTUP_CLEAR) & 2, 2);

    tpm.disable_owner_hierarchy().expect("disabled");
    assert_eq!(property(&tpm, PT_STARTUP_CLEAR) & 2, 0);
    assert_eq!(code(&create_primary(&tpm, b"")), RC_HIERARCHY);

    tpm.restart().expect("restarted");
    assert_eq!(primary_name(&tpm, b""), name);
}

#[test]
fn clear() {
    let tpm = start();
    let name = primary_name(&tpm, b"");
    tpm.set_owner_auth(b"secret").expect("set");
    tpm.disable_owner_hierarchy().expect("disabled");

    tpm.clear_owner().expect("cleared");
    assert!(tpm.transient_handles().expect("handles").is_empty());
    assert_eq!(property(&tpm, PT_PERMANENT) & 1, 0);
    assert_ne!(primary_name(&tpm, b""), name);
}
