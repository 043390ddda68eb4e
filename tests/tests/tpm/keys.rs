// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The right keys: the oracle's, the golden ones, over every transport.

use std::time::Duration;

use tdk_simulator::{Endpoint, Swtpm};
use tdk_tests::backend::Backend;
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::random::Random;
use tdk_tests::{assert_no_handles, golden, oracle, over_both_backends};
use tpm_derived_keys::KeyInfo;
use tpm_derived_keys::identity::{Kind, Realm, Subject};
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::{Bus, Patience, RootKey, Tpm};

use crate::swtpm;

over_both_backends!(
    hundreds_of_random_requests_give_the_oracles_keys,
    golden_keys,
    tcp_and_unix_socket_lead_to_the_same_keys,
    a_restart_changes_nothing_and_another_tpm_everything,
    a_tpm_without_tpm2_hmac_gives_the_same_keys,
    many_keys_of_one_identity_cost_one_operation,
);

/// The key that the library makes for the oracle's request.
fn key<T: Tpm>(root: &mut RootKey<'_, T>, asked: &oracle::Request) -> Vec<u8> {
    let request =
        Request::parse(asked.key_type.as_bytes(), &asked.description, &asked.info).unwrap();
    let value = &asked.value[..];
    let subject = match request.kind() {
        Kind::Path => Subject::path(value).unwrap(),
        Kind::Csum => Subject::Csum(value.try_into().unwrap()),
        Kind::Id => Subject::Id,
        Kind::Cgroup => Subject::cgroup(value).unwrap(),
        Kind::Verity => {
            let (algorithm, digest) = value.split_first_chunk().unwrap();
            Subject::verity(u16::from_be_bytes(*algorithm), digest).unwrap()
        }
    };
    let realm = Realm::new(&asked.realm).unwrap();
    let decision = request
        .identify(subject, asked.uid, &realm)
        .unwrap()
        .decided_by_operator();
    let payload = decision.unlock(root).unwrap().payload().unwrap();
    payload.as_bytes().to_vec()
}

fn connect(backend: Backend, tcti: &str) -> Box<dyn Tpm> {
    // Some keys take their time, on a machine that has other things to do.
    let patience = Patience {
        hold: Duration::from_mins(5),
        ..Patience::default()
    };
    backend.open(tcti, &patience).unwrap()
}

fn keys(backend: Backend, tcti: &str, requests: &[oracle::Request]) -> Vec<Vec<u8>> {
    let mut tpm = connect(backend, tcti);
    let mut root = RootKey::create(&mut tpm).unwrap();
    let keys = requests.iter().map(|asked| key(&mut root, asked)).collect();
    root.flush().unwrap();
    keys
}

fn hundreds_of_random_requests_give_the_oracles_keys(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let mut random = Random::new(20);
    let requests: Vec<_> = (0..400).map(|_| random.request()).collect();
    let ours = keys(backend, &tpm.tcti(), &requests);
    let theirs = oracle::derive(&tpm.tcti(), &requests);
    for ((ours, theirs), request) in ours.iter().zip(theirs).zip(&requests) {
        assert_eq!(ours, &theirs.unwrap(), "{request:?}");
    }
    let mut different = ours.clone();
    different.sort();
    different.dedup();
    // Keys of one or two bytes may well be alike.
    let long = |keys: &[Vec<u8>]| keys.iter().filter(|key| key.len() > 8).count();
    assert_eq!(long(&different), long(&ours));
    assert_no_handles(&tpm);
}

fn golden_keys(backend: Backend) {
    let tpm = swtpm().state(golden::state()).start().unwrap();
    let mut connected = connect(backend, &tpm.tcti());
    let mut root = RootKey::create(&mut connected).unwrap();
    assert_eq!(root.name().to_string(), golden::root());
    for entry in golden::entries() {
        assert_eq!(key(&mut root, &entry.request), entry.payload, "{entry:?}");
    }
}

#[test]
fn golden_keys_of_the_oracle() {
    let tpm = swtpm().state(golden::state()).start().unwrap();
    assert_eq!(oracle::root(&tpm.tcti()), golden::root());
    let entries = golden::entries();
    let requests: Vec<_> = entries.iter().map(|entry| entry.request.clone()).collect();
    for (key, entry) in oracle::derive(&tpm.tcti(), &requests).iter().zip(&entries) {
        assert_eq!(key.as_ref().unwrap(), &entry.payload, "{entry:?}");
    }
}

fn tcp_and_unix_socket_lead_to_the_same_keys(backend: Backend) {
    let unix = swtpm().start().unwrap();
    let tcp = Swtpm::builder()
        .state(tdk_simulator::StateSource::CopyOf(unix.state_dir().into()))
        .endpoint(Endpoint::Tcp)
        .start()
        .unwrap();
    let mut random = Random::new(4);
    let requests: Vec<_> = (0..10).map(|_| random.request()).collect();
    assert_eq!(
        keys(backend, &unix.tcti(), &requests),
        keys(backend, &tcp.tcti(), &requests)
    );
}

fn a_restart_changes_nothing_and_another_tpm_everything(backend: Backend) {
    let mut tpm = swtpm().start().unwrap();
    let request = [oracle::Request::user("x", "32 id", 0, "")];
    let before = keys(backend, &tpm.tcti(), &request);
    tpm.restart().unwrap();
    assert_eq!(keys(backend, &tpm.tcti(), &request), before);
    let other = swtpm().start().unwrap();
    assert_ne!(keys(backend, &other.tcti(), &request), before);
    tpm.clear_owner().unwrap();
    assert_ne!(keys(backend, &tpm.tcti(), &request), before);
}

fn a_tpm_without_tpm2_hmac_gives_the_same_keys(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let request = [oracle::Request::user("x", "32 id", 0, "")];
    let with = keys(backend, &tpm.tcti(), &request);
    // As the TPM itself says it, and as the kernel's resource manager does.
    for code in [0x143, 0x000B_0143] {
        let without = Middle::before(&tpm, move |command, _| match command {
            cc::HMAC => Action::Answer(code),
            _ => Action::Pass,
        });
        assert_eq!(keys(backend, &without.tcti(), &request), with);
        let sent = |command| without.seen().contains(&command);
        let encrypted = backend.bus() == Bus::Encrypted;
        // What TPM2_Sign answers can't be encrypted.
        assert_eq!(sent(cc::SIGN), !encrypted);
        assert_eq!(sent(cc::HMAC_START), encrypted);
        assert_eq!(sent(cc::SEQUENCE_COMPLETE), encrypted);
    }
    assert_no_handles(&tpm);
}

fn many_keys_of_one_identity_cost_one_operation(backend: Backend) {
    let tpm = swtpm().start().unwrap();
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    let mut connected = connect(backend, &middle.tcti());
    let mut root = RootKey::create(&mut connected).unwrap();
    let request = |n: u32| {
        let description = format!("tpm2:derived:{n}");
        Request::parse(b"user", description.as_bytes(), b"32 id").unwrap()
    };
    let identity = tpm_derived_keys::identity::Identity::new(
        Subject::Id,
        tpm_derived_keys::identity::Scope::Uid,
        0,
        Realm::default(),
    )
    .unwrap();
    let identity_key = root.identity_key(&identity.digest()).unwrap();
    root.flush().unwrap();
    // A software TPM serves one connection at a time.
    drop(connected);
    for n in 0..100 {
        let okm = identity_key.expand(&KeyInfo::from(&request(n)));
        let alone = oracle::Request::user(&n.to_string(), "32 id", 0, "");
        if n % 33 == 0 {
            assert_eq!(okm.as_bytes(), oracle::key(&tpm.tcti(), &alone));
        }
    }
    assert_eq!(middle.seen(), backend.commands());
}
