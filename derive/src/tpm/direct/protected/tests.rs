// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;

/// What `tests/oracle/session.py` has computed.
fn vector(name: &str) -> Vec<u8> {
    let lines = include_str!("../session_vectors.txt").lines();
    let mut numbers = lines.filter_map(|line| line.split_once(" = "));
    let (_, digits) = numbers.find(|(key, _)| *key == name).unwrap();
    hex::decode(digits).unwrap()
}

fn number(name: &str) -> [u8; 32] {
    vector(name).try_into().unwrap()
}

#[test]
fn a_session_as_the_oracle_has_it() {
    let (u, v) = (vector("party_u"), vector("party_v"));
    let salt = Salt {
        salt: kdfe(&vector("shared"), "SECRET", &u, &v),
        encrypted: Vec::new(),
    };
    assert_eq!(*salt.salt, number("salt"));
    let (nonce_tpm, nonce_caller) = (vector("nonce_started"), number("nonce_starting"));
    let mut session = Protected::new(7, Kind::Hmac, Some(&salt), &nonce_tpm, nonce_caller);
    assert_eq!(**session.key.as_ref().unwrap(), number("key"));

    let mut parameters = vector("command");
    let (names, auth) = (vector("names"), vector("auth"));
    let area = session.authorize_with(
        number("nonce_caller"),
        0x155,
        &names,
        Authority::Session(&auth),
        &mut parameters,
        DECRYPT | ENCRYPT,
    );
    assert_eq!(parameters, vector("command_sent"));
    let expected = [
        &[0, 0, 0, 7, 0, 32][..],
        &vector("nonce_caller"),
        &[0x61, 0, 32],
        &vector("command_hmac"),
    ];
    assert_eq!(area, expected.concat());

    let sent = vector("response_sent");
    let size = u32::try_from(sent.len()).unwrap().to_be_bytes();
    let mut body = [
        &size[..],
        &sent,
        &[0, 32],
        &vector("nonce_tpm"),
        &[0x61, 0, 32],
        &vector("response_hmac"),
    ]
    .concat();
    session.check(0x155, &mut body).unwrap();
    assert_eq!(body[4..4 + sent.len()], vector("response"));
}

/// The root key's.
const EMPTY: Authority<'_> = Authority::Session(&[]);

fn session() -> Protected {
    let salt = Salt {
        salt: Secret::new([1; 32]),
        encrypted: Vec::new(),
    };
    Protected::new(0x0200_0000, Kind::Hmac, Some(&salt), &[2; 32], [3; 32])
}

/// What a TPM with the same key answers, by the same formulas.
fn answer(command: &Protected, secret: &[u8; 32], nonce_tpm: Nonce) -> Vec<u8> {
    let mut parameters = [&[0, 32][..], secret].concat();
    let encrypted = first_parameter(&mut parameters).unwrap();
    let cipher = command.cipher(&nonce_tpm, &command.nonce_caller);
    cipher.encrypt(encrypted);
    let hash = Sha256::new()
        .chain_update([0; 4])
        .chain_update(0x155_u32.to_be_bytes())
        .chain_update(&parameters)
        .finalize();
    let mac = command.mac(&hash, &nonce_tpm, &command.nonce_caller);
    let size = u32::try_from(parameters.len()).unwrap().to_be_bytes();
    let mac = mac.finalize().into_bytes();
    let attributes = [command.attributes];
    let parts = [
        &size[..],
        &parameters,
        &[0, 32],
        &nonce_tpm,
        &attributes,
        &[0, 32],
        &mac,
    ];
    parts.concat()
}

#[test]
fn the_digest_is_encrypted_and_each_time_differently() {
    let mut session = session();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut parameters = [&[0, 32][..], &[7; 32], &[0, 0x0B]].concat();
        session.authorize(0x155, &[9; 34], EMPTY, &mut parameters, DECRYPT | ENCRYPT);
        assert_eq!(
            (&parameters[..2], &parameters[34..]),
            (&[0, 32][..], &[0, 0x0B][..])
        );
        seen.push(parameters);
    }
    assert_ne!(seen[0], seen[1]);
    assert!(!seen[0].windows(4).any(|window| window == [7; 4]));
}

#[test]
fn an_answer_that_was_changed_is_not_taken() {
    let mut session = session();
    session.authorize(0x155, &[9; 34], EMPTY, &mut [], DECRYPT | ENCRYPT);
    let honest = answer(&session, &[5; 32], [6; 32]);
    assert!(!honest.windows(4).any(|window| window == [5; 4]));
    for place in 0..honest.len() {
        let mut changed = honest.clone();
        changed[place] ^= 1;
        session.check(0x155, &mut changed).unwrap_err();
    }
    for length in 0..honest.len() {
        session
            .check(0x155, &mut honest[..length].to_vec())
            .unwrap_err();
    }
    let other_command = session.check(0x15B, &mut honest.clone());
    assert_eq!(other_command, Err(Fault::Forged));
    let mut taken = honest.clone();
    session.check(0x155, &mut taken).unwrap();
    assert_eq!(taken[6..38], [5; 32]);
    // Nor is it taken again.
    session.authorize(0x155, &[9; 34], EMPTY, &mut [], DECRYPT | ENCRYPT);
    let replayed = session.check(0x155, &mut honest.clone());
    assert_eq!(replayed, Err(Fault::Forged));
}

#[test]
fn another_salt_is_another_session() {
    let mut session = session();
    session.authorize(0x155, &[9; 34], EMPTY, &mut [], ENCRYPT);
    let answer = answer(&session, &[5; 32], [6; 32]);
    let mut others = Protected {
        key: None,
        value: Zeroizing::new(vec![8; 32]),
        nonce_tpm: session.nonce_tpm.clone(),
        nonce_caller: session.nonce_caller,
        ..session
    };
    assert_eq!(others.check(0x155, &mut answer.clone()), Err(Fault::Forged));
    session.check(0x155, &mut answer.clone()).unwrap();
}
