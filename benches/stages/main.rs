// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What each stage of a request takes, and what many keys of one identity take.
//! `cargo bench --package tdk-benches --bench stages` runs it; `make bench` puts its
//! medians into the table.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use tdk_request_key::Observed;
use tdk_simulator::Swtpm;
use tdk_sys::PROCESS_KEYRING;
use tpm_derived_keys::det_keygen::{self, Curve, PrivateKey};
use tpm_derived_keys::identity::{Identified, Identity, Kind, Realm, Scope, Subject};
use tpm_derived_keys::policy::{Doubts, Field, Found, Policy, Source};
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::{Bus, Direct, Patience, RootKey, Tcti, Trust};
use tpm_derived_keys::{IdentityKey, KeyInfo};
use zeroize::Zeroizing;

const DESCRIPTION: &[u8] = b"tpm2:derived:example.org";

/// An asker of whom nothing is asked.
struct Nobody;

impl Source for Nobody {
    fn find(&mut self, _: Field) -> Found {
        Found::known("x")
    }

    fn doubts(&self) -> Doubts {
        Doubts::default()
    }
}

fn request() -> Request {
    Request::parse(b"user", DESCRIPTION, b"32 path").expect("a request")
}

fn nginx() -> Subject {
    Subject::path(b"/usr/sbin/nginx").expect("a path")
}

fn identified() -> Identified {
    let identified = request().identify(nginx(), 33, &Realm::default());
    identified.expect("an asker")
}

fn identity() -> Identity {
    Identity::new(nginx(), Scope::Uid, 33, Realm::default()).expect("an identity")
}

fn identity_key() -> IdentityKey {
    IdentityKey::new(Zeroizing::new([7; 32]))
}

/// The seed of that number: how long a search takes depends on it.
fn seed(number: u64) -> [u8; 48] {
    let mut seed = [0; 48];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    seed
}

fn stages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stage");
    group.bench_function("request parsed", |bencher| {
        bencher.iter(|| Request::parse(b"user", black_box(DESCRIPTION), b"32 path"));
    });
    // Another process than this one: what is known of oneself is seen more quickly.
    let mut other = std::process::Command::new("sleep");
    let mut other = other.arg("1000").spawn().expect("a process");
    for (name, kind) in [("path", Kind::Path), ("csum", Kind::Csum), ("id", Kind::Id)] {
        group.bench_function(format!("identity found ({name})"), |bencher| {
            bencher.iter(|| {
                let asker = Observed::of_thread(other.id()).expect("an asker");
                asker.subject(kind).expect("what it is known by")
            });
        });
    }
    other.kill().and_then(|()| other.wait()).expect("it ends");
    let policy = Policy::shipped();
    group.bench_function("policy judged (the default)", |bencher| {
        bencher.iter_batched(
            identified,
            |identified| policy.decide(identified, &mut Nobody),
            BatchSize::SmallInput,
        );
    });
    let identity = identity();
    group.bench_function("identity digest", |bencher| {
        bencher.iter(|| black_box(&identity).digest());
    });
    let (key, info) = (identity_key(), KeyInfo::from(&request()));
    group.bench_function("HKDF-Expand, 32 bytes", |bencher| {
        bencher.iter(|| key.expand(black_box(&info)));
    });
    group.bench_function("key instantiated (add_key(2), 32 bytes)", |bencher| {
        bencher.iter(|| tdk_sys::add_key(c"user", c"tdk-bench", &[7; 32], PROCESS_KEYRING));
    });
    group.finish();
}

/// A key found from a seed, and written as PKCS#8.
fn searches(criterion: &mut Criterion) {
    type Search = fn(u64) -> PrivateKey;
    let searches: [(&str, Search); 6] = [
        ("RSA-2048", |n| {
            det_keygen::rsa(&seed(n), 2048).expect("a key")
        }),
        ("RSA-3072", |n| {
            det_keygen::rsa(&seed(n), 3072).expect("a key")
        }),
        ("RSA-4096", |n| {
            det_keygen::rsa(&seed(n), 4096).expect("a key")
        }),
        ("ECDSA P-256", |n| {
            det_keygen::ecdsa(&seed(n), Curve::P256).expect("a key")
        }),
        ("ECDSA P-384", |n| {
            det_keygen::ecdsa(&seed(n), Curve::P384).expect("a key")
        }),
        ("Ed25519", |n| {
            det_keygen::ed25519(&seed(n)[..32]).expect("a key")
        }),
    ];
    let mut group = criterion.benchmark_group("search");
    for (name, search) in searches {
        // Each key another one, in all samples together.
        let mut number = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += 1;
                search(number)
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("encoding");
    for (name, search) in [searches[0], searches[3], searches[5]] {
        let key = search(1);
        group.bench_function(name, |bencher| bencher.iter(|| key.to_pkcs8_der()));
    }
    group.finish();
}

/// A whole derivation of so many keys over a connection that is opened for it, and
/// what it has the TPM do.
fn keys(criterion: &mut Criterion) {
    let tpm = Swtpm::builder().start().expect("a TPM");
    let tcti: Tcti = tpm.tcti().parse().expect("its address");
    let digest = identity().digest();
    let mut group = criterion.benchmark_group("keys of one identity");
    for count in [1, 10, 1000, 100_000_u64] {
        group.throughput(Throughput::Elements(count));
        let infos: Vec<_> = (0..count).map(info).collect();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    let start = Instant::now();
                    let trust = Trust {
                        bus: Bus::Plain,
                        ..Trust::default()
                    };
                    let mut tpm = Direct::open(&tcti, &Patience::default(), &trust).expect("it");
                    let mut root = RootKey::create(&mut tpm).expect("a root key");
                    let key = root.identity_key(&digest).expect("an identity key");
                    root.flush().expect("flushed");
                    assert_eq!(tpm.commands(), 3, "one operation, whatever the number");
                    for info in &infos {
                        black_box(key.expand(info));
                    }
                    took += start.elapsed();
                }
                took
            });
        });
    }
    group.finish();
}

fn info(number: u64) -> KeyInfo {
    let description = format!("tpm2:derived:volume {number}");
    let request = Request::parse(b"user", description.as_bytes(), b"32 path");
    KeyInfo::from(&request.expect("a request"))
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    stages(&mut criterion);
    searches(&mut criterion);
    keys(&mut criterion);
    criterion.final_summary();
}
