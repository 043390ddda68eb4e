// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Owner hierarchies with a password, which is shown to be known and never said.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tdk_tests::backend::{Backend, Derived, PATIENCE};
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::{assert_no_handles, over_both_backends};
use tpm_derived_keys::tpm::{
    Bus, Cause, Direct, Name, OwnerAuth, StorageAlgorithm, TpmError, Trust,
};
use zeroize::Zeroizing;

use crate::conversation::{heard, keep, storage_key};
use crate::swtpm;

over_both_backends!(
    a_password_is_not_heard,
    a_password_and_a_storage_key_that_is_kept,
    a_tpm_without_ecc,
    a_wrong_password,
    a_password_where_none_is_needed,
    a_password_that_is_not_given,
    a_connection_that_breaks,
);

const PASSWORD: &[u8] = b"correct horse battery staple";

fn typed(value: &[u8]) -> Arc<OwnerAuth> {
    let value = Zeroizing::new(value.to_vec());
    Arc::new(OwnerAuth::new(value, "this test").unwrap())
}

fn derive(backend: Backend, tcti: &str, password: &[u8]) -> Result<Derived, TpmError> {
    derive_known(backend, tcti, password, None)
}

fn derive_known(
    backend: Backend,
    tcti: &str,
    password: &[u8],
    srk: Option<Name>,
) -> Result<Derived, TpmError> {
    let trust = Trust {
        bus: backend.bus(),
        srk,
        owner_auth: (!password.is_empty()).then(|| typed(password)),
        ..Trust::default()
    };
    backend.derive_as(tcti, &trust)
}

/// The commands of a derivation where the owner has a password.
fn commands(backend: Backend, is_kept: bool) -> Vec<u32> {
    let before = [cc::READ_PUBLIC, cc::GET_CAPABILITY, cc::GET_CAPABILITY];
    let made = [
        // Nobody's storage key, and a session for the owner's.
        cc::CREATE_PRIMARY,
        cc::START_AUTH_SESSION,
        cc::FLUSH_CONTEXT,
        cc::CREATE_PRIMARY,
        cc::FLUSH_CONTEXT,
        // The session that is salted to that.
        cc::START_AUTH_SESSION,
        cc::FLUSH_CONTEXT,
    ];
    let root = [
        cc::CREATE_PRIMARY,
        cc::HMAC,
        cc::FLUSH_CONTEXT,
        cc::FLUSH_CONTEXT,
    ];
    let started = [cc::START_AUTH_SESSION];
    let plain_root = [
        cc::CREATE_PRIMARY,
        cc::FLUSH_CONTEXT,
        cc::HMAC,
        cc::FLUSH_CONTEXT,
    ];
    match (backend.bus(), is_kept) {
        (Bus::Plain, _) => [&before[..], &started, &plain_root].concat(),
        (Bus::Encrypted, true) => [&before[..], &started, &root].concat(),
        (Bus::Encrypted, false) => [&before[..], &made, &root].concat(),
    }
}

/// TPM2_CreatePrimary as others send it: with the password in clear.
fn in_clear(middle: &Middle) {
    let size = u8::try_from(9 + PASSWORD.len()).unwrap();
    let length = u8::try_from(PASSWORD.len()).unwrap();
    let body = [
        &[
            0x40, 0, 0, 1, 0, 0, 0, size, 0x40, 0, 0, 9, 0, 0, 0, 0, length,
        ][..],
        PASSWORD,
        &[0; 4],
    ]
    .concat();
    let whole = u32::try_from(10 + body.len()).unwrap().to_be_bytes();
    let header = [&[0x80, 0x02][..], &whole, &cc::CREATE_PRIMARY.to_be_bytes()].concat();
    let tcti = middle.tcti();
    let mut stream = UnixStream::connect(tcti.strip_prefix("swtpm:path=").unwrap()).unwrap();
    stream.write_all(&[header, body].concat()).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
}

fn a_password_is_not_heard(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let before = derive(backend, &tpm.tcti(), b"").unwrap();
    tpm.set_owner_auth(PASSWORD).unwrap();
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    assert_eq!(derive(backend, &middle.tcti(), PASSWORD).unwrap(), before);
    assert_eq!(middle.seen(), commands(backend, false));
    assert!(!heard(&middle.recorded(), PASSWORD));
    assert_no_handles(&tpm);
    // Where it is said, it is heard.
    in_clear(&middle);
    assert!(heard(&middle.recorded(), PASSWORD));
    // Zeros at the end are no part of it.
    let zeros = [PASSWORD, &[0, 0]].concat();
    assert_eq!(derive(backend, &tpm.tcti(), &zeros).unwrap(), before);
}

fn a_password_and_a_storage_key_that_is_kept(backend: Backend) {
    for algorithm in StorageAlgorithm::ALL {
        let tpm = swtpm().start().unwrap();
        keep(&tpm, &algorithm.template());
        let srk = storage_key(&tpm, algorithm);
        tpm.set_owner_auth(PASSWORD).unwrap();
        for known in [None, Some(srk)] {
            let middle = Middle::before(&tpm, |_, _| Action::Pass);
            derive_known(backend, &middle.tcti(), PASSWORD, known).unwrap();
            assert_eq!(middle.seen(), commands(backend, true));
            assert!(!heard(&middle.recorded(), PASSWORD));
        }
        assert_no_handles(&tpm);
    }
}

fn a_tpm_without_ecc(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let srk = storage_key(&tpm, StorageAlgorithm::Rsa2048);
    tpm.set_owner_auth(PASSWORD).unwrap();
    // TPM_RC_TYPE of inPublic, each time that a storage key of ECC is asked for.
    let middle = Middle::before(&tpm, move |command, before| match (command, before) {
        (cc::CREATE_PRIMARY, 3 | 7) if backend.bus() == Bus::Encrypted => Action::Answer(0x2CA),
        _ => Action::Pass,
    });
    derive_known(backend, &middle.tcti(), PASSWORD, Some(srk)).unwrap();
    assert!(!heard(&middle.recorded(), PASSWORD));
    assert_no_handles(&tpm);
}

/// It is tried once, and not counted by the TPM.
fn a_wrong_password(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    tpm.set_owner_auth(PASSWORD).unwrap();
    for _ in 0..5 {
        let middle = Middle::before(&tpm, |_, _| Action::Pass);
        let error = derive(backend, &middle.tcti(), b"wrong").unwrap_err();
        assert!(matches!(error, TpmError::OwnerAuth { .. }), "{error}");
        assert_eq!(error.cause(), Cause::OwnerAuth);
        let text = "the TPM refused the owner's password from this test";
        assert_eq!(error.to_string(), text);
        let primaries = middle
            .seen()
            .iter()
            .filter(|code| **code == cc::CREATE_PRIMARY)
            .count();
        assert_eq!(primaries, if backend.bus() == Bus::Plain { 1 } else { 2 });
        assert!(!middle.seen().contains(&cc::HMAC));
        assert_no_handles(&tpm);
    }
    let tcti = tpm.tcti().parse().unwrap();
    let mut direct = Direct::open(&tcti, &PATIENCE, &Trust::default()).unwrap();
    let properties = direct.properties().unwrap();
    assert_eq!(
        (properties.lockout_counter, properties.in_lockout),
        (0, false)
    );
}

fn a_password_where_none_is_needed(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let error = derive(backend, &tpm.tcti(), PASSWORD).unwrap_err();
    assert!(matches!(error, TpmError::OwnerAuth { .. }), "{error}");
    assert!(
        error
            .hint()
            .contains("or none if the owner hierarchy has none")
    );
    assert_no_handles(&tpm);
}

fn a_password_that_is_not_given(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    tpm.set_owner_auth(PASSWORD).unwrap();
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    let error = derive(backend, &middle.tcti(), b"").unwrap_err();
    assert!(matches!(error, TpmError::Response { .. }), "{error}");
    assert_eq!(error.cause(), Cause::OwnerAuth);
    assert!(error.hint().contains("owner_auth = \"/FILE\""), "{error}");
    let primaries = middle
        .seen()
        .iter()
        .filter(|code| **code == cc::CREATE_PRIMARY)
        .count();
    assert_eq!(primaries, 1);
    assert_no_handles(&tpm);
}

fn a_connection_that_breaks(backend: Backend) {
    for place in 0..commands(backend, false).len() {
        let tpm = swtpm().start().unwrap();
        tpm.set_owner_auth(PASSWORD).unwrap();
        let middle = Middle::before(&tpm, move |_, before| {
            if before == place {
                Action::CloseAfter
            } else {
                Action::Pass
            }
        });
        let _ = derive(backend, &middle.tcti(), PASSWORD);
        assert!(!heard(&middle.recorded(), PASSWORD));
        assert_no_handles(&tpm);
    }
}
