// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `tests/fuzz` does with any bytes at all: reads them as whatever an asker, an
//! administrator or a TPM may have written, and makes sure of what has to hold then.

use std::path::Path;

use crate::config::Config;
use crate::enrolment::Names;
use crate::identity::{Realm, Scope, Subject};
use crate::policy::{
    Doubt, Doubts, Explained, Facts, Field, Found, Policy, Source, fuzzing as in_policy,
};
use crate::request::{PREFIX, Request};
use crate::tpm::Tcti;
pub use crate::tpm::fuzzing::{response, session};

/// Whatever is printed is one line without control characters.
fn assert_printable(text: &str) {
    let control = text.chars().find(|c| c.is_control());
    assert_eq!(control, None, "{text:?}");
}

/// The strings of a request, between NULs. What is understood means the same when it
/// is written in its plainest form.
pub fn request(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (key_type, description, callout_info) = (next(), next(), next());
    match Request::parse(key_type, description, callout_info) {
        Ok(request) => {
            let mut plain = format!(
                "{} {} gen={}",
                request.what(),
                request.kind().word(),
                request.generation()
            );
            if request.scope() == Scope::Any {
                plain.push_str(" scope=any");
            }
            let key_type = request.key_type().name().as_bytes();
            let description = [PREFIX.as_bytes(), request.key_id().as_bytes()].concat();
            let again = Request::parse(key_type, &description, plain.as_bytes());
            assert_eq!(again.as_ref(), Ok(&request), "{plain}");
            assert_printable(&request.key_id().to_string());
        }
        Err(error) => {
            assert_printable(&error.to_string());
            assert_printable(error.hint());
        }
    }
}

/// An asker of whom nothing is known, or everything alike.
struct Asker(Option<&'static str>);

impl Source for Asker {
    fn find(&mut self, _: Field) -> Found {
        match self.0 {
            Some(value) => Found::known(value),
            None => Found::unknown("of no interest"),
        }
    }

    fn doubts(&self) -> Doubts {
        let mut doubts = Doubts::default();
        if self.0.is_none() {
            doubts.add(Doubt::Traced, "the asker is traced");
        }
        doubts
    }
}

/// A policy's file: as a plain one it is what it is to the general reader. What it decides, what
/// it explains, and what it decides when it has been read for this request, is the same.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    in_policy::plain_is_the_same(text);
    let (key_type, description) = (b"user", b"tpm2:derived:x");
    let facts = Facts::of_strings(key_type, description);
    let read_for_it = in_policy::parse_for(text, &facts);
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            let same = read_for_it.expect_err("what is wrong for all requests");
            assert_eq!(error.to_string(), same.to_string());
            return assert_printable(&error.to_string());
        }
    };
    let read_for_it = read_for_it.expect("what is right for all requests");
    assert_eq!(read_for_it.sets_permissions(), policy.sets_permissions());
    for (callout_info, uid) in [
        ("32 id", 0),
        ("rsa2048 id gen=3", 1000),
        ("1 id scope=any", 7),
    ] {
        for known in [None, Some("/usr/bin/x"), Some("0"), Some("x.service")] {
            let request = Request::parse(key_type, description, callout_info.as_bytes());
            let identified = request
                .expect("a plain request")
                .identify(Subject::Id, uid, &Realm::default())
                .expect("an identity of no name");
            let (judgement, facts) = policy.judge_by(&identified, &mut Asker(known));
            let explained = policy.explain(&judgement, &facts);
            let decide = |policy: &Policy| {
                let decided = policy.decide(identified.clone(), &mut Asker(known));
                decided.map(|decision| (decision.grant(), decision.by().to_owned()))
            };
            let decided = decide(&policy);
            assert_eq!(explained.allowed, decided.is_ok());
            assert_eq!(decided, decide(&read_for_it));
            let Explained {
                because,
                given,
                passed_over,
                ..
            } = &explained;
            for line in because.iter().chain(given).chain(passed_over) {
                assert_printable(line);
            }
            assert_printable(&explained.decision);
        }
    }
}

/// A configuration.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Config::of_text(text, Path::new("FILE")) {
        Ok(config) => {
            assert_eq!(Config::of_text(text, Path::new("FILE")).ok(), Some(config));
        }
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// The address of a TPM: what is understood is understood again as it is printed.
pub fn tcti(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<Tcti>() {
        Ok(tcti) => assert_eq!(tcti.to_string().parse().as_ref(), Ok(&tcti)),
        Err(error) => drop(error.to_string()),
    }
}

/// The file that `tdk enroll` writes: what is understood is understood again as it is
/// written.
pub fn enrolment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Names::of_json(text) {
        Ok(names) => {
            assert_eq!(Names::of_json(&names.to_json()), Ok(names));
            assert_eq!(Names::of_words(&names.to_command_line()), Ok(names));
            assert!(Config::of_text(&names.to_config(), Path::new("FILE")).is_ok());
        }
        Err(error) => assert_printable(&error),
    }
}

/// The kernel's command line.
pub fn command_line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Names::of_words(&text) {
        Ok(names) => assert_eq!(Names::of_words(&names.to_command_line()), Ok(names)),
        Err(error) => assert_printable(&error),
    }
}
