// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the library finds out about a TPM for its operator.

use tdk_simulator::Swtpm;
use tdk_tests::assert_no_handles;
use tdk_tests::middle::{Action, Middle, cc};
use tpm_derived_keys::tpm::{Direct, Patience, Probe, Properties, RootKey, TpmError, Trust};

use crate::swtpm;

fn connect(tcti: &str) -> Direct {
    Direct::open(
        &tcti.parse().unwrap(),
        &Patience::default(),
        &Trust::default(),
    )
    .unwrap()
}

fn properties(tpm: &Swtpm) -> Properties {
    connect(&tpm.tcti()).properties().unwrap()
}

#[test]
fn what_a_tpm_says_of_itself() {
    let mut tpm = swtpm().start().unwrap();
    let new = properties(&tpm);
    assert_eq!(new.model, "IBM SW TPM");
    assert_ne!(new.firmware, [0, 0]);
    assert!(!new.owner_auth_set && new.owner_enabled && !new.in_lockout);
    assert_eq!(new.lockout_counter, 0);

    // Each changes nothing else.
    tpm.set_max_tries(0).unwrap();
    let locked_out = Properties {
        in_lockout: true,
        max_auth_fail: 0,
        ..new.clone()
    };
    assert_eq!(properties(&tpm), locked_out);
    tpm.set_max_tries(new.max_auth_fail).unwrap();
    assert_eq!(properties(&tpm), new);

    tpm.disable_owner_hierarchy().unwrap();
    let disabled = Properties {
        owner_enabled: false,
        ..new.clone()
    };
    assert_eq!(properties(&tpm), disabled);
    tpm.restart().unwrap();
    assert_eq!(properties(&tpm), new);

    tpm.set_owner_auth(b"secret").unwrap();
    let owned = Properties {
        owner_auth_set: true,
        ..new
    };
    assert_eq!(properties(&tpm), owned);
}

#[test]
fn properties_that_are_none() {
    let tpm = swtpm().start().unwrap();
    for answer in [
        // No properties at all, handles instead, properties cut short.
        "8001 00000013 00000000 00 00000006 00000000",
        "8001 00000013 00000000 00 00000001 00000000",
        "8001 00000017 00000000 00 00000006 00000001 00000200",
    ] {
        let answer = hex::decode(answer.replace(' ', "")).unwrap();
        let middle = Middle::before(&tpm, move |_, _| Action::Instead(answer.clone()));
        let error = connect(&middle.tcti()).properties().unwrap_err();
        assert!(matches!(error, TpmError::Malformed { .. }), "{error}");
    }
}

type Probes = (Option<Probe>, Option<Probe>);

fn probes(tcti: &str) -> Result<Probes, TpmError> {
    let mut tpm = connect(tcti);
    let mut root = RootKey::create(&mut tpm)?;
    let probes = (root.probe_hmac()?, root.probe_sign()?);
    root.flush()?;
    Ok(probes)
}

#[test]
fn hmac_and_sign_are_compared() {
    let tpm = swtpm().start().unwrap();
    let (hmac, sign) = probes(&tpm.tcti()).unwrap();
    let (hmac, sign) = (hmac.unwrap(), sign.unwrap());
    assert!(hmac.is_same(&sign));

    // Another TPM's is another.
    let other = swtpm().start().unwrap();
    let (others, _) = probes(&other.tcti()).unwrap();
    assert!(!hmac.is_same(&others.unwrap()));

    for (lacking, code) in [(cc::HMAC, 0x143), (cc::SIGN, 0x000B_0143)] {
        let middle = Middle::before(&tpm, move |command, _| match command {
            command if command == lacking => Action::Answer(code),
            _ => Action::Pass,
        });
        let (hmac, sign) = probes(&middle.tcti()).unwrap();
        assert_eq!(hmac.is_none(), lacking == cc::HMAC);
        assert_eq!(sign.is_none(), lacking == cc::SIGN);
    }

    let middle = Middle::before(&tpm, |command, _| match command {
        cc::SIGN => Action::Answer(0x2D2),
        _ => Action::Pass,
    });
    let error = probes(&middle.tcti()).unwrap_err();
    assert!(error.to_string().contains("TPM_RC_SCHEME"), "{error}");
    assert_no_handles(&tpm);
}

#[test]
fn root_keys_that_somebody_left() {
    let tpm = swtpm().start().unwrap();
    let left = || connect(&tpm.tcti()).root_keys_left().unwrap();
    assert!(left().is_empty());
    // Never flushed: the connection ends, and what would clean up is told that
    // it has.
    let middle = Middle::before(&tpm, |command, before| match command {
        // Not the storage key's.
        cc::FLUSH_CONTEXT if before > 5 => {
            Action::Raw(hex::decode("80010000000a00000000").unwrap())
        }
        _ => Action::Pass,
    });
    probes(&middle.tcti()).unwrap();
    assert_eq!(left(), tpm.transient_handles().unwrap());
    assert_eq!(left().len(), 1);
    // It only looks.
    assert_eq!(left().len(), 1);
}
