// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who can listen to a conversation with a TPM, or answer in its place.

use tdk_simulator::Swtpm;
use tdk_tests::backend::{Backend, PATIENCE, digest};
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::owner::{command as owner, send};
use tdk_tests::{assert_no_handles, golden, oracle, over_both_backends};
use tpm_derived_keys::KeyInfo;
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::{
    Bus, Cause, Name, PERSISTENT_STORAGE_KEY, RootKey, StorageAlgorithm, StorageKey, TpmError,
};

use crate::swtpm;

over_both_backends!(
    a_listener_hears_no_key,
    a_listener_hears_no_key_of_a_tpm_without_tpm2_hmac,
    somebody_who_offers_a_sequence_of_his_own,
    an_enrolled_tpm_answers,
    another_tpm_in_the_place_of_the_enrolled_one,
    somebody_who_offers_a_key_of_his_own,
    somebody_who_changes_an_answer,
    somebody_who_repeats_an_answer,
    a_storage_key_that_is_kept_in_the_tpm,
    a_storage_key_that_is_kept_no_more,
    another_object_where_the_storage_key_is_kept,
    a_tpm_without_ecc,
    a_tpm_that_can_not_encrypt,
);

/// What keys are asked for.
fn requests() -> Vec<Request> {
    let request = |key_type: &[u8], id: u32| {
        let description = format!("tpm2:derived:{id}");
        Request::parse(key_type, description.as_bytes(), b"32 id").unwrap()
    };
    (0..8)
        .flat_map(|id| [request(b"user", id), request(b"logon", id)])
        .collect()
}

/// What is known of a TPM.
#[derive(Clone, Copy, Default)]
struct Known {
    root: Option<Name>,
    srk: Option<Name>,
}

fn derive(backend: Backend, tcti: &str, known: Known) -> Result<Vec<Vec<u8>>, TpmError> {
    let mut tpm = backend.open_known(tcti, &PATIENCE, known.root, known.srk)?;
    let mut root = RootKey::create(&mut tpm)?;
    let key = root.identity_key(&digest())?;
    root.flush()?;
    let keys = requests()
        .iter()
        .map(|request| key.expand(&KeyInfo::from(request)).as_bytes().to_vec())
        .collect();
    Ok(keys)
}

fn handle(response: &[u8]) -> u32 {
    u32::from_be_bytes(response[10..14].try_into().unwrap())
}

fn create_primary(template: &[u8]) -> Vec<u8> {
    let size = u16::try_from(template.len()).unwrap().to_be_bytes();
    let parameters = [&[0, 4, 0, 0, 0, 0][..], &size, template, &[0; 6]].concat();
    owner(cc::CREATE_PRIMARY, &[0x4000_0001], &parameters)
}

fn flush(tpm: &Swtpm, handle: u32) {
    let command = [
        &[0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x65][..],
        &handle.to_be_bytes(),
    ];
    send(tpm, &command.concat());
}

/// What the TPM makes of a template, and the public area.
fn made(tpm: &Swtpm, template: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let response = send(tpm, &create_primary(template));
    flush(tpm, handle(&response));
    let size = u16::from_be_bytes(response[18..20].try_into().unwrap());
    let public_area = response[20..20 + usize::from(size)].to_vec();
    (response, public_area)
}

pub(crate) fn storage_key(tpm: &Swtpm, algorithm: StorageAlgorithm) -> Name {
    let (_, public_area) = made(tpm, &algorithm.template());
    StorageKey::of(&public_area).unwrap().name()
}

/// TPM2_EvictControl: has the TPM keep what it makes of a template.
pub(crate) fn keep(tpm: &Swtpm, template: &[u8]) {
    let response = send(tpm, &create_primary(template));
    let handles = [0x4000_0001, handle(&response)];
    let place = PERSISTENT_STORAGE_KEY.to_be_bytes();
    send(tpm, &owner(0x120, &handles, &place));
    flush(tpm, handle(&response));
}

const ROOT: &[u8] = b"\0\x08\0\x0B\0\x04\x04\x72\0\0\0\x05\0\x0B\0\x13tpm-derived-keys v1";

/// The identity key itself, in clear.
fn identity_key(tpm: &Swtpm) -> Vec<u8> {
    let root = handle(&send(tpm, &create_primary(ROOT)));
    let parameters = [&[0, 32][..], digest().as_bytes(), &[0, 0x0B]].concat();
    let response = send(tpm, &owner(cc::HMAC, &[root], &parameters));
    flush(tpm, root);
    response[16..48].to_vec()
}

fn root(tpm: &Swtpm) -> Name {
    oracle::root(&tpm.tcti()).parse().unwrap()
}

pub(crate) fn heard(recorded: &[u8], what: &[u8]) -> bool {
    recorded.windows(what.len()).any(|window| window == what)
}

/// What was recorded shows no secret, unless the conversation was not protected:
/// then it shows that this finds them.
fn assert_not_heard(backend: Backend, tpm: &Swtpm, recorded: &[u8], keys: &[Vec<u8>]) {
    let is_plain = backend.bus() == Bus::Plain;
    assert_eq!(heard(recorded, &identity_key(tpm)), is_plain);
    assert_eq!(heard(recorded, digest().as_bytes()), is_plain);
    for key in keys {
        assert!(!heard(recorded, key));
    }
}

fn a_listener_hears_no_key(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    let keys = derive(backend, &middle.tcti(), Known::default()).unwrap();
    assert_eq!(
        keys[0],
        oracle::key(&tpm.tcti(), &oracle::Request::user("0", "32 id", 0, ""))
    );
    assert_not_heard(backend, &tpm, &middle.recorded(), &keys);
    assert_no_handles(&tpm);
}

fn a_listener_hears_no_key_of_a_tpm_without_tpm2_hmac(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let middle = Middle::before(&tpm, |command, _| match command {
        cc::HMAC => Action::Answer(0x143),
        _ => Action::Pass,
    });
    let keys = derive(backend, &middle.tcti(), Known::default()).unwrap();
    assert_not_heard(backend, &tpm, &middle.recorded(), &keys);
    assert_no_handles(&tpm);
}

/// It has no key at all, so that everybody could compute what it gives.
fn somebody_who_offers_a_sequence_of_his_own(backend: Backend) {
    if backend.bus() == Bus::Plain {
        // No sequence is used, and who is in the middle hears the key anyway.
        return;
    }
    let tpm = swtpm().start().unwrap();
    let known = Known {
        root: Some(root(&tpm)),
        srk: Some(storage_key(&tpm, StorageAlgorithm::P256)),
    };
    // TPM2_HashSequenceStart, without a password.
    let start = [&[0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x86][..], &[0, 0, 0, 0x0B]].concat();
    let answer = tpm.send(&start).unwrap();
    assert_eq!(answer[6..10], [0; 4]);
    let his = u32::from_be_bytes(answer[10..14].try_into().unwrap());
    let middle = Middle::before(&tpm, move |command, _| match command {
        cc::HMAC => Action::Answer(0x143),
        cc::HMAC_START => Action::Handle(his),
        _ => Action::Pass,
    });
    let error = derive(backend, &middle.tcti(), known).unwrap_err();
    assert!(middle.seen().contains(&cc::SEQUENCE_COMPLETE));
    assert!(matches!(error, TpmError::Forged { .. }), "{error}");
}

fn an_enrolled_tpm_answers(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let known = Known {
        root: Some(root(&tpm)),
        srk: Some(storage_key(&tpm, StorageAlgorithm::P256)),
    };
    let keys = derive(backend, &tpm.tcti(), known).unwrap();
    assert_eq!(
        keys,
        derive(backend, &tpm.tcti(), Known::default()).unwrap()
    );
    assert_no_handles(&tpm);
}

fn another_tpm_in_the_place_of_the_enrolled_one(backend: Backend) {
    let enrolled = swtpm().start().unwrap();
    let other = swtpm().start().unwrap();
    let middle = Middle::before(&other, |_, _| Action::Pass);
    let known = Known {
        root: Some(root(&enrolled)),
        srk: None,
    };
    let error = derive(backend, &middle.tcti(), known).unwrap_err();
    assert!(matches!(error, TpmError::OtherRoot { .. }), "{error}");
    assert_eq!(error.cause(), Cause::OtherSeed);
    assert!(error.hint().contains("cleared"));
    let known = Known {
        root: None,
        srk: Some(storage_key(&enrolled, StorageAlgorithm::P256)),
    };
    let result = derive(backend, &middle.tcti(), known);
    match backend.bus() {
        // Nothing is salted to it.
        Bus::Plain => assert!(result.is_ok()),
        Bus::Encrypted => {
            let error = result.unwrap_err();
            assert!(matches!(error, TpmError::OtherStorageKey { .. }), "{error}");
            assert_eq!(error.cause(), Cause::OtherSeed);
            assert!(!middle.seen().contains(&cc::HMAC));
        }
    }
    assert_no_handles(&other);
}

/// The TPM is there, but in between is somebody who wants to know the salt.
fn somebody_who_offers_a_key_of_his_own(backend: Backend) {
    if backend.bus() == Bus::Plain {
        return;
    }
    let tpm = swtpm().start().unwrap();
    let his = swtpm().start().unwrap();
    let (answer, _) = made(&his, &StorageAlgorithm::P256.template());
    let offer = move |place| {
        let answer = answer.clone();
        move |_, before| match before {
            before if before == place => Action::Instead(answer.clone()),
            _ => Action::Pass,
        }
    };
    let known = Known {
        root: Some(root(&tpm)),
        srk: Some(storage_key(&tpm, StorageAlgorithm::P256)),
    };
    let middle = Middle::before(&tpm, offer(3));
    let error = derive(backend, &middle.tcti(), known).unwrap_err();
    assert!(matches!(error, TpmError::OtherStorageKey { .. }), "{error}");
    assert!(!middle.seen().contains(&cc::START_AUTH_SESSION));
    assert_no_handles(&tpm);

    // Where the storage key is not known, the TPM can't decrypt the salt.
    let middle = Middle::before(&tpm, offer(3));
    derive(backend, &middle.tcti(), Known::default()).unwrap_err();
    assert!(!middle.seen().contains(&cc::HMAC));
    assert_no_handles(&tpm);
}

fn at(place: usize, action: Action) -> impl Fn(u32, usize) -> Action + Send + Sync {
    move |_, before| match before {
        before if before == place => action.clone(),
        _ => Action::Pass,
    }
}

/// Of each answer, in what proves it, in what is random, and in what is said.
fn somebody_who_changes_an_answer(backend: Backend) {
    let honest = derive(backend, &golden::tpm().tcti(), Known::default()).unwrap();
    let mut others = 0;
    for (place, command) in backend.commands().iter().enumerate() {
        for from_end in [0, 34, 80] {
            // A session whose number was changed stays in the TPM.
            let tpm = golden::tpm();
            let middle = Middle::before(&tpm, at(place, Action::Flip(from_end)));
            let result = derive(backend, &middle.tcti(), Known::default());
            let told = format!("command {place} {command:x}, {from_end} bytes from the end");
            match (backend.bus(), result) {
                (_, Err(_)) => {}
                // Nothing proves what is said without a session.
                (Bus::Plain, Ok(keys)) => others += usize::from(keys != honest),
                (Bus::Encrypted, Ok(keys)) => {
                    assert_ne!(*command, cc::HMAC, "{told}");
                    assert_eq!(keys, honest, "{told}");
                }
            }
        }
    }
    assert_eq!(others > 0, backend.bus() == Bus::Plain);
}

fn somebody_who_repeats_an_answer(backend: Backend) {
    let tpm = golden::tpm();
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    let honest = derive(backend, &middle.tcti(), Known::default()).unwrap();
    // Commands and responses in turn.
    let recorded = middle.recorded();
    let mut rest = &recorded[..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[2..6].try_into().unwrap());
        let (frame, more) = rest.split_at(usize::try_from(length).unwrap());
        frames.push(frame.to_vec());
        rest = more;
    }
    let place = middle.seen().iter().position(|code| *code == cc::HMAC);
    let place = place.unwrap();
    let again = frames.swap_remove(2 * place + 1);
    let middle = Middle::before(&tpm, at(place, Action::Instead(again)));
    let result = derive(backend, &middle.tcti(), Known::default());
    match backend.bus() {
        Bus::Plain => assert_eq!(result.unwrap(), honest),
        Bus::Encrypted => drop(result.unwrap_err()),
    }
    assert_no_handles(&tpm);
}

fn a_storage_key_that_is_kept_in_the_tpm(backend: Backend) {
    for algorithm in StorageAlgorithm::ALL {
        let tpm = swtpm().start().unwrap();
        keep(&tpm, &algorithm.template());
        let known = Known {
            root: None,
            srk: Some(storage_key(&tpm, algorithm)),
        };
        for known in [Known::default(), known] {
            let middle = Middle::before(&tpm, |_, _| Action::Pass);
            let keys = derive(backend, &middle.tcti(), known).unwrap();
            assert_not_heard(backend, &tpm, &middle.recorded(), &keys);
            let mut expected = backend.commands().to_vec();
            if backend.bus() == Bus::Encrypted {
                // Neither made nor flushed.
                expected.drain(5..6);
                expected.drain(3..4);
            }
            assert_eq!(middle.seen(), expected);
        }
        assert_no_handles(&tpm);
    }
}

/// It is made again as long as its Name is the known one.
fn a_storage_key_that_is_kept_no_more(backend: Backend) {
    for algorithm in StorageAlgorithm::ALL {
        let tpm = swtpm().start().unwrap();
        let known = Known {
            root: None,
            srk: Some(storage_key(&tpm, algorithm)),
        };
        let keys = derive(backend, &tpm.tcti(), known).unwrap();
        assert_eq!(
            keys,
            derive(backend, &tpm.tcti(), Known::default()).unwrap()
        );
        assert_no_handles(&tpm);
    }
    if backend.bus() == Bus::Plain {
        return;
    }
    // One of another template can't be.
    let tpm = swtpm().start().unwrap();
    let mut template = StorageAlgorithm::P256.template();
    template[30] = 1;
    let (_, public_area) = made(&tpm, &template);
    let known = Known {
        root: None,
        srk: Some(StorageKey::of(&public_area).unwrap().name()),
    };
    let error = derive(backend, &tpm.tcti(), known).unwrap_err();
    assert!(matches!(error, TpmError::OtherStorageKey { .. }), "{error}");
    assert!(error.hint().contains("removed from 0x81000001"), "{error}");
    assert_no_handles(&tpm);
}

fn another_object_where_the_storage_key_is_kept(backend: Backend) {
    // As the template, but with AES of 256 bits; a root key; the right template, but
    // not the known key.
    let mut others = StorageAlgorithm::P256.template();
    others[13] = 0;
    others[12] = 1;
    let mut unknown = StorageAlgorithm::P256.template();
    unknown[30] = 1;
    for (kept, is_known) in [(&others[..], false), (ROOT, false), (&unknown, true)] {
        let tpm = swtpm().start().unwrap();
        keep(&tpm, kept);
        let srk = storage_key(&tpm, StorageAlgorithm::P256);
        let known = Known {
            root: None,
            srk: is_known.then_some(srk),
        };
        let middle = Middle::before(&tpm, |_, _| Action::Pass);
        let keys = derive(backend, &middle.tcti(), known).unwrap();
        assert_not_heard(backend, &tpm, &middle.recorded(), &keys);
        // One is made, as if there were none.
        assert_eq!(middle.seen(), backend.commands());
        assert_no_handles(&tpm);
    }
}

fn a_tpm_without_ecc(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    // TPM_RC_TYPE of inPublic.
    let middle = Middle::before(&tpm, move |command, before| match (command, before) {
        (cc::CREATE_PRIMARY, 3) if backend.bus() == Bus::Encrypted => Action::Answer(0x2CA),
        _ => Action::Pass,
    });
    let keys = derive(backend, &middle.tcti(), Known::default()).unwrap();
    assert_not_heard(backend, &tpm, &middle.recorded(), &keys);
    assert_no_handles(&tpm);
}

fn a_tpm_that_can_not_encrypt(backend: Backend) {
    if backend.bus() == Bus::Plain {
        return;
    }
    let tpm = swtpm().start().unwrap();
    let without = |lacking: u32, code: u32| {
        let middle = Middle::before(&tpm, move |command, _| {
            if command == lacking {
                Action::Answer(code)
            } else {
                Action::Pass
            }
        });
        let error = derive(backend, &middle.tcti(), Known::default()).unwrap_err();
        assert!(matches!(error, TpmError::NotEncrypted { .. }), "{error}");
        assert!(error.hint().contains("bus = \"plain\""), "{error}");
        assert_no_handles(&tpm);
        error.to_string()
    };
    let error = without(cc::CREATE_PRIMARY, 0x2CA);
    assert!(
        error.contains("it lacks storage keys of ECC (P-256) and RSA"),
        "{error}"
    );
    // No AES: TPM_RC_SYMMETRIC, parameter 4; no such command at all.
    for code in [0x4D6, 0x143] {
        let error = without(cc::START_AUTH_SESSION, code);
        assert!(
            error.contains("it lacks HMAC sessions with SHA-256"),
            "{error}"
        );
    }
}
