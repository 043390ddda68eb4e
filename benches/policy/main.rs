// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a policy adds to a request: reading its files, as each request does, and
//! judging; and, of that, to whole requests. `cargo bench --package tdk-benches --bench
//! policy` runs it.

mod request;

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::PermissionsExt;

use criterion::{BenchmarkId, Criterion};
use tdk_simulator::proxy::Chip;
use tdk_tests::rules::rules;
use tpm_derived_keys::identity::{Identified, Realm, Subject};
use tpm_derived_keys::policy::{Doubts, Facts, Field, Found, Policy, Source};
use tpm_derived_keys::request::Request;

/// An asker that is nobody's whom the rules are about.
struct Nginx;

impl Source for Nginx {
    fn find(&mut self, field: Field) -> Found {
        match field {
            Field::User => Found::known("www-data"),
            Field::Unit => Found::known("nginx.service"),
            _ => Found::known("x"),
        }
    }

    fn doubts(&self) -> Doubts {
        Doubts::default()
    }
}

const KEY_TYPE: &[u8] = b"user";
const DESCRIPTION: &[u8] = b"tpm2:derived:tls:example.org";

fn identified() -> Identified {
    let request = Request::parse(KEY_TYPE, DESCRIPTION, b"32 path");
    let nginx = Subject::path(b"/usr/sbin/nginx");
    let identified =
        request
            .expect("a request")
            .identify(nginx.expect("a path"), 33, &Realm::default());
    identified.expect("an asker")
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let identified = identified();
    let facts = Facts::of_strings(KEY_TYPE, DESCRIPTION);
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
    let mut group = criterion.benchmark_group("policy");
    for count in [0, 10, 100, 1000] {
        let text = rules(count, "tls:*");
        fs::write(directory.path().join(Policy::FILE), &text).expect("a file");
        group.bench_function(BenchmarkId::new("read", count), |bencher| {
            let read = || Policy::open(directory.path())?.read_for(&facts);
            bencher.iter(|| read().expect("a policy"));
        });
        let policy = Policy::parse(&text).expect("a policy");
        group.bench_function(BenchmarkId::new("judge", count), |bencher| {
            bencher.iter(|| policy.judge_by(black_box(&identified), &mut Nginx));
        });
    }
    group.finish();
    criterion.final_summary();
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    if rustix::process::geteuid().is_root() {
        let is_test = std::env::args().any(|argument| argument == "--test");
        let mut policies = Vec::from(
            [10, 100, 1000].map(|count| (format!("{count} rules"), rules(count, "tls:*"))),
        );
        policies.push(("1000 rules, half for any key id".into(), rules(1000, "*")));
        request::compare(&policies, None, if is_test { 3 } else { 500 });
        // Of each of these a request takes some tenths of a second.
        for chip in Chip::ALL {
            request::compare(&policies, Some(chip), if is_test { 1 } else { 15 });
        }
    } else {
        println!("not run: whole requests (they need root)");
    }
}
