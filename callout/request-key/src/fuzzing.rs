// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `tests/fuzz` does with any bytes at all: reads them as whatever an asker or
//! the kernel may have written, and makes sure of what has to hold then.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use tpm_derived_keys::config::LogLevel;

use crate::accounts::names_in;
use crate::asker;
use crate::invocation::{Form, Invocation};
use crate::packages;
use crate::proc_keys::{Asker, asker_of};
use crate::record::{Field, Kind, Record, fields_of};

/// The program's arguments, between NULs.
pub fn arguments(data: &[u8]) {
    let words = data.split(|byte| *byte == 0);
    let words: Vec<_> = words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    match Invocation::parse(words) {
        Ok(Invocation::Serve(arguments)) => {
            if let Form::Direct(serial) = arguments.form {
                assert!(serial > 0);
            }
            let _ = arguments.uid();
        }
        Ok(_) => {}
        Err(failure) => assert!(!failure.to_string().contains('\n')),
    }
}

/// `/proc/keys`. Who does not know the authorisation key's number is not believed.
pub fn proc_keys(data: &[u8]) {
    const U: i32 = 0x0151_7d15;
    const A: i32 = 0x1207_c26e;
    let lower = data.to_ascii_lowercase();
    let has = |what: &[u8]| lower.windows(what.len()).any(|bytes| bytes == what);
    let asker = asker_of(U, &[A], data);
    if asker != Asker::Nobody {
        assert!(has(b"1207c26e") && has(b"1517d15") && has(b".request_"));
    }
    assert_eq!(asker_of(U, &[], data), Asker::Nobody);
    // The true line before it is either believed or disputed.
    let ours =
        b"1207c26e I------    10 perm 1b010000     0     0 .request_ key:1517d15 pid:270 ci:2\n";
    let with_ours = asker_of(U, &[A], &[ours, data].concat());
    match asker {
        Asker::Nobody => assert_eq!(with_ours, Asker::Thread(270)),
        Asker::Thread(_) | Asker::Disputed => assert_eq!(with_ours, Asker::Disputed),
    }
}

/// A file of a thread's directory in `/proc`.
pub fn proc_files(data: &[u8]) {
    asker::fuzzing::proc_files(data);
}

/// dpkg's list of diversions, and lists of accounts.
pub fn lists(data: &[u8]) {
    let _ = packages::diversions(data);
    let _ = names_in(data, "FILE", "uid", &[0, 1000, u32::MAX]);
}

/// The number of a file, and a package's header in RPM's database: whose it is, has a
/// name in there.
pub fn rpm_header(data: &[u8]) {
    let Some((file, header)) = data.split_first() else {
        return;
    };
    let of = |names: &[Vec<u8>]| packages::is_of(header, i64::from(*file), names);
    if let Ok(Some(mut package)) = of(&[b"/usr/lib/asker/run".to_vec()]) {
        assert!(!package.is_empty());
        package.push(0);
        assert!(header.windows(package.len()).any(|bytes| bytes == package));
    }
    assert!(!matches!(of(&[]), Ok(Some(_))));
}

/// A record about values between NULs: the line has no control characters, and the
/// journal gets each value in its own field.
pub fn record(data: &[u8]) {
    const FIELDS: [Field; 4] = [Field::Type, Field::Info, Field::KeyId, Field::Executable];
    let mut record = Record::new(Kind::Refused, LogLevel::Warning);
    record.add(Field::Key, 7).add(Field::Decision, "refused");
    let mut values = Vec::new();
    for (field, value) in FIELDS.into_iter().zip(data.splitn(4, |byte| *byte == 0)) {
        record.add_bytes(field, value);
        values.push((field, &value[..value.len().min(4096)]));
    }
    let line = record.line();
    assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    let entry = record.for_the_journal();
    let fields = fields_of(&entry).expect("the protocol");
    assert_eq!(fields.len(), 8 + values.len());
    for (n, (field, value)) in values.into_iter().enumerate() {
        assert_eq!(fields[8 + n], (field.in_journal().as_bytes(), value));
    }
}
