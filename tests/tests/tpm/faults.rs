// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TPMs that misbehave: a clear error, in time, and nothing left behind.

use std::time::{Duration, Instant};

use tdk_tests::backend::Backend;
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::{assert_no_handles, over_both_backends};
use tpm_derived_keys::IdentityKey;
use tpm_derived_keys::identity::{Identity, Realm, Scope, Subject};
use tpm_derived_keys::tpm::{Bus, Cause, Patience, RootKey, TpmError};

use crate::swtpm;

over_both_backends!(
    put_off_is_tried_again,
    put_off_for_ever_ends_in_time,
    a_connection_that_ends,
    a_tpm_that_falls_silent,
    a_tpm_that_never_answers,
    no_tpm,
    slots_that_others_use_are_left_alone,
    no_slot_for_a_sequence,
    an_owner_who_has_a_password,
    an_owner_hierarchy_that_is_off,
    a_tpm_that_nobody_started,
    answers_that_are_none,
    an_hmac_that_is_none_leaves_nothing_loaded,
    a_root_that_is_another_object_is_flushed_and_not_used,
);

/// A derivation from the start to the flush.
fn derive(backend: Backend, tcti: &str, hold: Duration) -> Result<IdentityKey, TpmError> {
    let patience = Patience {
        hold,
        ..Patience::default()
    };
    let identity = Identity::new(Subject::Id, Scope::Uid, 0, Realm::default()).unwrap();
    let mut tpm = backend.open(tcti, &patience)?;
    let mut root = RootKey::create(&mut tpm)?;
    let key = root.identity_key(&identity.digest())?;
    root.flush()?;
    Ok(key)
}

const LONG: Duration = Duration::from_mins(1);
/// Long enough for a TPM that is at work before and after.
const SILENCE: Duration = Duration::from_secs(3);
const SHORT: Duration = Duration::from_secs(1);

/// Acts once, on the first command of that code.
fn once(code: u32, action: Action) -> impl Fn(u32, usize) -> Action + Send + Sync {
    let done = std::sync::atomic::AtomicBool::new(false);
    move |command, _| {
        if command == code && !done.swap(true, std::sync::atomic::Ordering::SeqCst) {
            action.clone()
        } else {
            Action::Pass
        }
    }
}

/// Acts once, on the command before which there were as many.
fn at(place: usize, action: Action) -> impl Fn(u32, usize) -> Action + Send + Sync {
    move |_, before| {
        if before == place {
            action.clone()
        } else {
            Action::Pass
        }
    }
}

/// What the first of them is called.
fn first(backend: Backend) -> &'static str {
    match backend.bus() {
        Bus::Plain => "TPM2_CreatePrimary",
        Bus::Encrypted => "TPM2_ReadPublic",
    }
}

/// How many commands there are after which the key is there.
fn last(backend: Backend) -> usize {
    match backend.bus() {
        Bus::Plain => 2,
        Bus::Encrypted => 8,
    }
}

fn put_off_is_tried_again(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let commands = backend.commands();
    for place in 0..commands.len() {
        for code in [0x922, 0x908, 0x90A, 0x909, 0x920] {
            let middle = Middle::before(&tpm, at(place, Action::Answer(code)));
            derive(backend, &middle.tcti(), LONG).unwrap();
            let mut expected = commands.to_vec();
            expected.insert(place, commands[place]);
            assert_eq!(middle.seen(), expected);
        }
    }
    assert_no_handles(&tpm);
}

fn put_off_for_ever_ends_in_time(backend: Backend) {
    let middle = Middle::alone(Action::Answer(0x922));
    let start = Instant::now();
    let error = derive(backend, &middle.tcti(), SHORT).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(error.cause(), Cause::Busy);
    assert!(error.to_string().contains("TPM_RC_RETRY"), "{error}");
}

/// Has each command of a derivation go wrong once, in each of these ways.
fn each_command_once(
    backend: Backend,
    actions: &[Action],
    hold: Duration,
    expected: impl Fn(&TpmError) -> bool,
) {
    let tpm = swtpm().start().unwrap();
    for place in 0..backend.commands().len() {
        for action in actions {
            let middle = Middle::before(&tpm, at(place, action.clone()));
            let start = Instant::now();
            let result = derive(backend, &middle.tcti(), hold);
            assert!(start.elapsed() < hold + Duration::from_secs(20));
            if place >= last(backend) {
                // The key is there and all else is gone, by the second try.
                result.unwrap();
            } else {
                let error = result.unwrap_err();
                assert!(expected(&error), "{place} {action:?}: {error}");
                assert_eq!(error.cause(), Cause::Busy);
            }
            assert_no_handles(&tpm);
        }
    }
}

fn a_connection_that_ends(backend: Backend) {
    let expected = |error: &TpmError| match backend {
        Backend::Direct | Backend::Plain => matches!(error, TpmError::Closed { .. }),
        // libtss2 does not tell an end from other errors.
        Backend::Tss => error.to_string().ends_with(
            ": can't talk to the TPM: input or output failed (libtss2, layer TCTI: 0xa000a)",
        ),
    };
    let actions = [Action::Close, Action::CloseAfter];
    each_command_once(backend, &actions, LONG, expected);
}

fn a_tpm_that_falls_silent(backend: Backend) {
    each_command_once(
        backend,
        &[Action::Silence, Action::SilenceAfter],
        SILENCE,
        |error| matches!(error, TpmError::Deadline { .. }),
    );
}

fn a_tpm_that_never_answers(backend: Backend) {
    let middle = Middle::alone(Action::Silence);
    let start = Instant::now();
    let error = derive(backend, &middle.tcti(), SHORT).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(
        error.to_string(),
        format!("{}: the TPM has not answered within 1 s", first(backend))
    );
}

fn no_tpm(backend: Backend) {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("sock");
    let unix = format!("swtpm:path={}", nowhere.display());
    let device = format!("device:{}", nowhere.display());
    // Nobody listens where somebody was bound but never listened.
    for tcti in [unix.as_str(), &device, "swtpm:host=127.0.0.1,port=1"] {
        let error = derive(backend, tcti, LONG).unwrap_err();
        assert_eq!(error.cause(), Cause::NoTpm, "{error}");
        assert!(error.to_string().contains(tcti), "{error}");
        let device = tcti.starts_with("device");
        let hint = if device {
            "/dev/tpmrm0"
        } else {
            "software TPM"
        };
        assert!(error.hint().contains(hint), "{}", error.hint());
    }
}

fn slots_that_others_use_are_left_alone(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    // From here on it is known what the root key is called.
    derive(backend, &tpm.tcti(), LONG).unwrap();
    let others = others_key();
    for _ in 0..3 {
        let response = tpm.send(&others).unwrap();
        assert_eq!(&response[6..10], [0; 4], "{response:02x?}");
    }
    let error = derive(backend, &tpm.tcti(), SHORT).unwrap_err();
    assert_eq!(error.cause(), Cause::Busy);
    assert!(
        error.to_string().contains("TPM_RC_OBJECT_MEMORY"),
        "{error}"
    );
    assert_eq!(tpm.transient_handles().unwrap().len(), 3);
}

/// TPM2_CreatePrimary of somebody else's key. An RSA or ECC key would do as well; this
/// is a KEYEDHASH of another template.
fn others_key() -> Vec<u8> {
    let mut others = hex::decode(concat!(
        "8002",
        "00000054",
        "00000131",
        "40000001",
        "00000009",
        "400000090000000000",
        "0004",
        "00000000",
        "0023",
        "0008000b00040472",
        "0000",
        "0005000b",
        "0013",
        "736f6d656f6e6520656c7365277320726f6f74",
        "0000",
        "00000000",
    ))
    .unwrap();
    let length = u32::try_from(others.len()).unwrap();
    others[2..6].copy_from_slice(&length.to_be_bytes());
    others
}

/// A root key is no slot that others have left, for the process that has made it.
fn no_slot_for_a_sequence(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    // From here on it is known what the root key is called.
    derive(backend, &tpm.tcti(), LONG).unwrap();
    // TPM_RC_COMMAND_CODE: it has no TPM2_HMAC.
    let middle = Middle::before(&tpm, |code, _| match code {
        cc::HMAC => Action::Answer(0x143),
        _ => Action::Pass,
    });
    let others = others_key();
    for _ in 0..2 {
        let response = tpm.send(&others).unwrap();
        assert_eq!(&response[6..10], [0; 4], "{response:02x?}");
    }
    let result = derive(backend, &middle.tcti(), SILENCE);
    match backend.bus() {
        // TPM2_Sign needs no slot.
        Bus::Plain => drop(result.unwrap()),
        Bus::Encrypted => {
            let error = result.unwrap_err();
            assert_eq!(error.cause(), Cause::Busy, "{error}");
            let expected = "TPM2_HMAC_Start: TPM_RC_OBJECT_MEMORY";
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
    assert_eq!(tpm.transient_handles().unwrap().len(), 2);
    assert!(tpm.session_handles().unwrap().is_empty());
}

fn an_owner_who_has_a_password(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    tpm.set_owner_auth(b"secret").unwrap();
    let error = derive(backend, &tpm.tcti(), LONG).unwrap_err();
    assert_eq!(error.cause(), Cause::OwnerAuth);
    assert_eq!(
        error.to_string(),
        "TPM2_CreatePrimary: TPM_RC_BAD_AUTH (0x9a2), the authorization is wrong, or missing \
         where one is set; session 1 (the owner's authorization)"
    );
}

fn an_owner_hierarchy_that_is_off(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    tpm.disable_owner_hierarchy().unwrap();
    let error = derive(backend, &tpm.tcti(), LONG).unwrap_err();
    assert_eq!(error.cause(), Cause::NoTpm);
    assert!(
        error.to_string().contains("TPM_RC_HIERARCHY (0x185)"),
        "{error}"
    );
    assert!(error.hint().contains("firmware setup"));
}

fn a_tpm_that_nobody_started(backend: Backend) {
    let tpm = swtpm().startup(false).start().unwrap();
    let error = derive(backend, &tpm.tcti(), LONG).unwrap_err();
    assert_eq!(error.cause(), Cause::NoTpm);
    assert!(
        error.to_string().contains("TPM_RC_INITIALIZE (0x100)"),
        "{error}"
    );
}

fn answers_that_are_none(backend: Backend) {
    let bytes = |text: &str| hex::decode(text.replace(' ', "")).unwrap();
    // The backends find fault with different things first.
    for (answer, direct, tss) in [
        (
            "00000000000000000000",
            "its size is impossible",
            "it is too short (libtss2, layer SYS: 0x80013)",
        ),
        (
            "8001 00000009 00000000",
            "its size is impossible",
            "it is too short (libtss2, layer SYS: 0x80013)",
        ),
        (
            "8001 ffffffff 00000000",
            "its size is impossible",
            "it is too long (libtss2, layer SYS: 0x80012)",
        ),
        (
            "8001 00001001 00000000",
            "its size is impossible",
            "it is too long (libtss2, layer SYS: 0x80012)",
        ),
        // Success, and then nothing, too little, or too much.
        (
            "8001 0000000a 00000000",
            "it has no handle",
            "it is not understood (libtss2, layer SYS: 0x80007)",
        ),
        (
            "8002 00000012 00000000 80000000 00000000",
            "UnexpectedEnd",
            "it is malformed (libtss2, layer SYS: 0x80011)",
        ),
        (
            "8002 0000000e 00000000 80000000",
            "UnexpectedEnd",
            "it is malformed (libtss2, layer SYS: 0x80011)",
        ),
        (
            "8001 0000000b 00000000 00",
            "it has no handle",
            "it is not understood (libtss2, layer SYS: 0x80007)",
        ),
        (
            "00c4 0000000a 00000000",
            "it has no handle",
            "it is not understood (libtss2, layer SYS: 0x80001)",
        ),
    ] {
        let middle = Middle::alone(Action::Raw(bytes(answer)));
        let error = derive(backend, &middle.tcti(), SHORT).unwrap_err();
        let what = match backend {
            Backend::Plain => direct,
            // TPM2_GetCapability has other things to be found fault with.
            Backend::Direct if direct.starts_with("its size") => direct,
            Backend::Tss if tss.starts_with("it is too") => tss,
            Backend::Direct | Backend::Tss => "",
        };
        // Where an answer can be read to its end, it could be of an object of an
        // unknown kind, which is as good as none.
        let first = match backend {
            Backend::Direct if what.is_empty() => "TPM2_GetCapability",
            _ => first(backend),
        };
        let expected = format!("{first}: the answer is no TPM 2.0 response: {what}");
        assert!(
            error.to_string().starts_with(&expected),
            "{answer}: {error}"
        );
        assert_eq!(error.cause(), Cause::Other);
    }
    // TPM 1.2 says so in a header of its own, which libtss2 does not know.
    let middle = Middle::alone(Action::Raw(bytes("00c4 0000000a 0000001e")));
    let error = derive(backend, &middle.tcti(), SHORT).unwrap_err();
    let hint = backend.pick("this one speaks TPM 1.2", "make sure that a TPM 2.0 is");
    assert!(error.hint().contains(hint), "{error}");
    // What Part 2 does not define is still told.
    let middle = Middle::alone(Action::Answer(0x0000_07FF));
    let error = derive(backend, &middle.tcti(), SHORT).unwrap_err();
    assert!(error.to_string().contains("0x7ff"), "{error}");
}

fn an_hmac_that_is_none_leaves_nothing_loaded(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    for answer in [
        // 31 bytes, 33 bytes, none, sizes that lie.
        format!(
            "8002 00000034 00000000 00000021 001f {} 0000010000",
            "11".repeat(31)
        ),
        format!(
            "8002 00000036 00000000 00000023 0021 {} 0000010000",
            "11".repeat(33)
        ),
        "8002 00000015 00000000 00000002 0000 0000010000".into(),
        format!(
            "8002 00000035 00000000 000000ff 0020 {} 0000010000",
            "11".repeat(32)
        ),
        "8002 0000000a 00000000".into(),
    ] {
        let answer = hex::decode(answer.replace(' ', "")).unwrap();
        let middle = Middle::before(&tpm, once(cc::HMAC, Action::Instead(answer)));
        let error = derive(backend, &middle.tcti(), LONG).unwrap_err();
        let expected = match backend {
            // Whatever it is, it has no HMAC.
            Backend::Direct => {
                matches!(error, TpmError::Malformed { .. } | TpmError::Forged { .. })
            }
            _ => matches!(error, TpmError::Malformed { .. }),
        };
        assert!(expected, "{error}");
        assert_no_handles(&tpm);
    }
}

fn a_root_that_is_another_object_is_flushed_and_not_used(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    // What the TPM makes of our template, but with another byte in it.
    let honest = Middle::before(&tpm, |_, _| Action::Pass);
    derive(backend, &honest.tcti(), LONG).unwrap();
    let command = hex::decode(concat!(
        "8002",
        "00000054",
        "00000131",
        "40000001",
        "00000009",
        "400000090000000000",
        "0004",
        "00000000",
        "0023",
        "0008000b00040472",
        "0000",
        "0005000b",
        "0013",
        "74706d2d646572697665642d6b657973207631",
        "0000",
        "00000000",
    ))
    .unwrap();
    let mut command = command;
    let length = u32::try_from(command.len()).unwrap();
    command[2..6].copy_from_slice(&length.to_be_bytes());
    let response = tpm.send(&command).unwrap();
    assert_eq!(&response[6..10], [0; 4]);
    let flush = [
        &hex::decode("80010000000e00000165").unwrap()[..],
        &response[10..14],
    ]
    .concat();
    tpm.send(&flush).unwrap();
    // Header, handle, parameter size, size of outPublic, type, nameAlg,
    // attributes: the last byte of attributes is at 10 + 4 + 4 + 2 + 7.
    // In the place of the storage key, and of the root key.
    let places: Vec<_> = (0..backend.commands().len())
        .filter(|place| backend.commands()[*place] == cc::CREATE_PRIMARY)
        .collect();
    let cases = [(27, "another object"), (40, "Name does not fit")];
    for ((byte, what), place) in cases
        .into_iter()
        .flat_map(|case| places.iter().map(move |place| (case, *place)))
    {
        let mut forged = response.clone();
        forged[byte] ^= 0x80;
        let middle = Middle::before(&tpm, at(place, Action::Instead(forged)));
        let error = derive(backend, &middle.tcti(), LONG).unwrap_err();
        let what = match backend.bus() {
            Bus::Plain => what,
            Bus::Encrypted if place == places[0] => "another object",
            Bus::Encrypted => "not from the TPM with the storage key",
        };
        // ESYS looks at the Name, and so at both, and at the HMAC first.
        let what = match (backend, place) {
            (Backend::Tss, place) if place == places[0] => {
                "it is malformed (libtss2, layer ESYS: 0x70011)"
            }
            _ => what,
        };
        assert!(error.to_string().contains(what), "{error}");
        assert_no_handles(&tpm);
    }
}
