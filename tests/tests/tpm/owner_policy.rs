// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Owner hierarchies that are opened by a policy of PCRs, beside a password that nobody
//! knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tdk_tests::backend::{Backend, Derived};
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::owner::{PCRS, close_by_policy, extend};
use tdk_tests::{assert_no_handles, over_both_backends};
use tpm_derived_keys::tpm::{Bus, Cause, OwnerAuth, StorageAlgorithm, TpmError, Trust};

use crate::conversation::{keep, storage_key};
use crate::swtpm;

over_both_backends!(
    a_policy_opens_it,
    a_storage_key_that_is_kept,
    a_tpm_without_ecc,
    other_values_and_other_policies,
    a_policy_that_is_not_named,
    a_tpm_without_tpm2_hmac,
    a_pcr_that_is_extended_meanwhile,
    a_connection_that_breaks,
);

fn derive(backend: Backend, tcti: &str, pcrs: Option<&str>) -> Result<Derived, TpmError> {
    let trust = Trust {
        bus: backend.bus(),
        owner_auth: pcrs.map(|pcrs| Arc::new(OwnerAuth::by_policy(pcrs.parse().unwrap()))),
        ..Trust::default()
    };
    backend.derive_as(tcti, &trust)
}

fn a_policy_opens_it(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let before = derive(backend, &tpm.tcti(), None).unwrap();
    close_by_policy(&tpm);
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    for _ in 0..3 {
        let after = derive(backend, &middle.tcti(), Some(PCRS)).unwrap();
        assert_eq!(after, before);
    }
    let shown = |code: &&u32| **code == cc::POLICY_PCR;
    let times = if backend.bus() == Bus::Plain { 3 } else { 6 };
    assert_eq!(middle.seen().iter().filter(shown).count(), times);
    assert_no_handles(&tpm);
    // PCRs that the policy does not ask about.
    extend(&tpm, 1);
    assert_eq!(derive(backend, &tpm.tcti(), Some(PCRS)).unwrap(), before);
}

fn a_storage_key_that_is_kept(backend: Backend) {
    for algorithm in StorageAlgorithm::ALL {
        let tpm = swtpm().start().unwrap();
        keep(&tpm, &algorithm.template());
        let trust = Trust {
            bus: backend.bus(),
            srk: Some(storage_key(&tpm, algorithm)),
            owner_auth: Some(Arc::new(OwnerAuth::by_policy(PCRS.parse().unwrap()))),
            ..Trust::default()
        };
        close_by_policy(&tpm);
        backend.derive_as(&tpm.tcti(), &trust).unwrap();
        assert_no_handles(&tpm);
    }
}

/// The policy was shown for a key that the TPM then did not make: it still counts.
fn a_tpm_without_ecc(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let before = derive(backend, &tpm.tcti(), None).unwrap();
    close_by_policy(&tpm);
    // TPM_RC_TYPE of inPublic, each time that a storage key of ECC is asked for.
    let middle = Middle::before(&tpm, move |command, before| match (command, before) {
        (cc::CREATE_PRIMARY, 3 | 8) if backend.bus() == Bus::Encrypted => Action::Answer(0x2CA),
        _ => Action::Pass,
    });
    let after = derive(backend, &middle.tcti(), Some(PCRS)).unwrap();
    assert_eq!(after, before);
    assert_no_handles(&tpm);
}

fn other_values_and_other_policies(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let refused = |pcrs: &str| {
        let error = derive(backend, &tpm.tcti(), Some(pcrs)).unwrap_err();
        assert!(matches!(error, TpmError::OwnerPolicy { .. }), "{error}");
        assert_eq!(error.cause(), Cause::OwnerAuth);
        assert!(error.hint().contains("tpm2_setprimarypolicy"));
        assert_no_handles(&tpm);
        error.to_string()
    };
    // There is none yet.
    refused(PCRS);
    close_by_policy(&tpm);
    refused("sha256:0,7");
    refused("sha1:4+sha256:0,7");
    derive(backend, &tpm.tcti(), Some(PCRS)).unwrap();
    extend(&tpm, 7);
    let text = refused(PCRS);
    assert!(
        text.starts_with("the TPM refused the policy sha256:0,7+sha1:4 (TPM_RC_POLICY_FAIL"),
        "{text}"
    );
}

fn a_policy_that_is_not_named(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    close_by_policy(&tpm);
    let error = derive(backend, &tpm.tcti(), None).unwrap_err();
    assert_eq!(error.cause(), Cause::OwnerAuth);
    assert!(error.hint().contains("owner_policy says which"), "{error}");
    assert_no_handles(&tpm);
}

/// A sequence would need its own password shown, for which a policy session is no good.
fn a_tpm_without_tpm2_hmac(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let before = derive(backend, &tpm.tcti(), None).unwrap();
    close_by_policy(&tpm);
    let middle = Middle::before(&tpm, |command, _| match command {
        cc::HMAC => Action::Answer(0x143),
        _ => Action::Pass,
    });
    let result = derive(backend, &middle.tcti(), Some(PCRS));
    match backend.bus() {
        Bus::Plain => assert_eq!(result.unwrap(), before),
        Bus::Encrypted => {
            let error = result.unwrap_err();
            assert!(matches!(error, TpmError::NotEncrypted { .. }), "{error}");
        }
    }
    assert_no_handles(&tpm);
}

/// TPM_RC_PCR_CHANGED, which IMA can bring about at any time.
fn a_pcr_that_is_extended_meanwhile(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    close_by_policy(&tpm);
    let was_shown = AtomicBool::new(false);
    let middle = Middle::before(&tpm, move |command, _| match command {
        cc::POLICY_PCR => {
            was_shown.store(true, Ordering::Relaxed);
            Action::Pass
        }
        cc::CREATE_PRIMARY if was_shown.load(Ordering::Relaxed) => Action::Answer(0x128),
        _ => Action::Pass,
    });
    let error = derive(backend, &middle.tcti(), Some(PCRS)).unwrap_err();
    assert_eq!(error.cause(), Cause::Busy, "{error}");
    assert!(error.hint().contains("ask again"), "{error}");
    assert_no_handles(&tpm);
    derive(backend, &tpm.tcti(), Some(PCRS)).unwrap();
}

fn a_connection_that_breaks(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    close_by_policy(&tpm);
    let whole = Middle::before(&tpm, |_, _| Action::Pass);
    derive(backend, &whole.tcti(), Some(PCRS)).unwrap();
    for place in 0..whole.seen().len() {
        let middle = Middle::before(&tpm, move |_, before| {
            if before == place {
                Action::CloseAfter
            } else {
                Action::Pass
            }
        });
        let _ = derive(backend, &middle.tcti(), Some(PCRS));
        derive(backend, &tpm.tcti(), Some(PCRS)).unwrap();
        assert_no_handles(&tpm);
    }
}
