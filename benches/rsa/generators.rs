// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who makes keys.

use std::env;
use std::process::{Command, Stdio};

use aws_lc_rs::rsa::{KeyPair, KeySize};
use crypto_bigint::BoxedUint;
use crypto_primes::{Flavor, is_prime};
use getrandom::SysRng;
use rsa_next::rand_core::UnwrapErr;
use tpm_derived_keys::det_keygen::{self, Arithmetic};

use crate::cost::Cost;
use crate::worker::{self, Worker};
use crate::{Result, machine};

/// What others are compared with.
pub(crate) const YARDSTICK: &str = "openssl genrsa";

/// The setting of AWS-LC by which it does not see AVX-512 IFMA: bit 21 of EBX of
/// CPUID's leaf 7.
const WITHOUT_IFMA: (&str, &str) = ("OPENSSL_ia32cap", "~0:~0x200000");

/// A row of the table.
pub(crate) struct Generator {
    pub(crate) name: &'static str,
    /// Name and version of what does it.
    pub(crate) what: String,
    pub(crate) cores: Cores,
    pub(crate) makes_keys: bool,
    pub(crate) generate: Generate,
}

/// Makes a key of so many bits, from the seed if it takes one.
type Generate = Box<dyn FnMut(u32, &[u8]) -> Cost>;

/// How many cores it may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    One,
    All,
}

impl Generator {
    fn new(
        name: &'static str,
        what: impl Into<String>,
        generate: impl FnMut(u32, &[u8]) -> Cost + 'static,
    ) -> Self {
        Self {
            name,
            what: what.into(),
            cores: Cores::One,
            makes_keys: true,
            generate: Box::new(generate),
        }
    }

    fn by_worker(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut worker = Worker::start(command)?;
        Ok(Self::new(
            name,
            worker.greeting.clone(),
            move |bits, seed| worker.generate(bits, seed).expect("the worker answers"),
        ))
    }
}

/// All that can be had here; says which can't.
pub(crate) fn all() -> Result<Vec<Generator>> {
    let mut generators = Vec::new();
    for generator in [openssl(), openssl_start(), python()] {
        generators.extend(or_say_why(generator)?);
    }
    generators.extend([
        Generator::new("AWS-LC", version("aws-lc-rs"), |bits, _| {
            let size = match bits {
                2048 => KeySize::Rsa2048,
                3072 => KeySize::Rsa3072,
                _ => KeySize::Rsa4096,
            };
            Cost::here(|| KeyPair::generate(size).expect("AWS-LC makes keys")).0
        }),
        Generator::new("rsa 0.9", version("rsa 0.9"), |bits, _| {
            Cost::here(|| rsa::RsaPrivateKey::new(&mut rand::rngs::OsRng, bits as usize)).0
        }),
        Generator::new("rsa 0.10-rc", version("rsa 0.10"), |bits, _| {
            let mut rng = UnwrapErr(SysRng);
            Cost::here(|| rsa_next::RsaPrivateKey::new(&mut rng, bits as usize)).0
        }),
        Generator::new(
            "this search over crypto-primes",
            format!(
                "{}, {}",
                version("crypto-primes"),
                version("crypto-bigint 0.7")
            ),
            |bits, seed| search_by(bits, seed, &CryptoPrimes),
        ),
    ]);
    generators.extend(or_say_why(gmp())?);
    if machine::has_ifma()? {
        generators.extend(or_say_why(without_ifma())?);
    } else {
        println!("without AVX-512 IFMA: this processor has none, so see the row \"this search\"");
    }
    generators.extend([
        Generator::new("this search", version("aws-lc-sys"), ours),
        Generator {
            cores: Cores::All,
            ..Generator::new("this search, all cores", "the same", ours)
        },
    ]);
    Ok(generators)
}

/// In CI nothing may be left out.
fn or_say_why(generator: Result<Generator>) -> Result<Option<Generator>> {
    match generator {
        Err(why) if env::var_os("CI").is_some_and(|ci| ci == "true") => Err(why),
        Err(why) => {
            println!("not run: {why}");
            Ok(None)
        }
        Ok(generator) => Ok(Some(generator)),
    }
}

fn openssl() -> Result<Generator> {
    Ok(Generator::new(YARDSTICK, openssl_version()?, |bits, _| {
        run_openssl(&["genrsa", &bits.to_string()]).expect("it ran before")
    }))
}

/// What `openssl genrsa` takes besides making a key.
fn openssl_start() -> Result<Generator> {
    let what = format!("{}, and no key is made", openssl_version()?);
    Ok(Generator {
        makes_keys: false,
        ..Generator::new("openssl version", what, |_, _| {
            run_openssl(&["version"]).expect("it ran before")
        })
    })
}

fn run_openssl(arguments: &[&str]) -> Result<Cost> {
    let mut command = Command::new("openssl");
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (cost, status) = Cost::of_child(|| command.status());
    if !status?.success() {
        return Err(format!("openssl {arguments:?} failed").into());
    }
    Ok(cost)
}

fn openssl_version() -> Result<String> {
    let version = Command::new("openssl").arg("version").output();
    let version = version.map_err(|error| format!("{YARDSTICK}: {error}"))?;
    Ok(String::from_utf8(version.stdout)?.trim().to_owned())
}

/// Python's cryptography, from where `scripts/bench.sh` has put it.
fn python() -> Result<Generator> {
    let python = env::var_os("TDK_BENCH_PYTHON")
        .ok_or("Python's cryptography (TDK_BENCH_PYTHON names no Python that has it)")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/rsa/worker.py");
    Generator::by_worker("Python cryptography", Command::new(python).arg(script))
        .map_err(|error| format!("Python's cryptography ({error})").into())
}

/// What this search takes where the processor lacks AVX-512 IFMA.
fn without_ifma() -> Result<Generator> {
    let (name, value) = WITHOUT_IFMA;
    let mut generator = Generator::by_worker(
        "this search without AVX-512 IFMA",
        Command::new(env::current_exe()?)
            .arg(worker::ARGUMENT)
            .env(name, value),
    )?;
    generator.what = format!("{} with {name}={value}", version("aws-lc-sys"));
    Ok(generator)
}

/// The library, as it is.
pub(crate) fn ours(bits: u32, seed: &[u8]) -> Cost {
    let (cost, key) = Cost::here(|| det_keygen::rsa(seed, bits));
    key.expect("each seed has a key");
    cost
}

fn search_by(bits: u32, seed: &[u8], arithmetic: &impl Arithmetic) -> Cost {
    let (cost, key) = Cost::here(|| det_keygen::rsa_by(seed, bits, arithmetic));
    let key = key.and_then(|key| key.to_pkcs8_der());
    let ours = det_keygen::rsa(seed, bits).and_then(|key| key.to_pkcs8_der());
    assert!(key == ours && key.is_ok(), "the arithmetics agree");
    cost
}

/// Pure Rust, Baillie-PSW.
struct CryptoPrimes;

impl Arithmetic for CryptoPrimes {
    fn are_prime(&self, numbers: [&[u8]; 2]) -> [bool; 2] {
        numbers.map(|number| {
            let bits = u32::try_from(number.len()).expect("short") * 8;
            let number = BoxedUint::from_be_slice(number, bits).expect("as long as that");
            is_prime(Flavor::Any, &number)
        })
    }
}

#[cfg(not(feature = "gmp"))]
fn gmp() -> Result<Generator> {
    Err("this search over GMP (feature gmp of tdk-benches)".into())
}

#[cfg(feature = "gmp")]
fn gmp() -> Result<Generator> {
    use rug::integer::{IsPrime, Order};

    /// Baillie-PSW and one Miller-Rabin test. Its time depends on the numbers.
    struct Gmp;

    impl Arithmetic for Gmp {
        fn are_prime(&self, numbers: [&[u8]; 2]) -> [bool; 2] {
            numbers.map(|number| {
                let number = rug::Integer::from_digits(number, Order::Msf);
                number.is_probably_prime(25) != IsPrime::No
            })
        }
    }
    let system = Command::new("pkg-config")
        .args(["--modversion", "gmp"])
        .output()?;
    let what = format!("GMP {}", String::from_utf8(system.stdout)?.trim());
    Ok(Generator::new(
        "this search over GMP",
        what,
        |bits, seed| search_by(bits, seed, &Gmp),
    ))
}

/// Name and version of the crate whose name and version begin so, from the lock file.
fn version(start: &str) -> String {
    let lines = include_str!("../../Cargo.lock").lines();
    let names = lines
        .clone()
        .filter_map(|line| line.strip_prefix("name = "));
    let versions = lines.filter_map(|line| line.strip_prefix("version = \""));
    // The first version is that of the file's format, without quotes.
    names
        .zip(versions)
        .map(|(name, version)| format!("{} {}", name.trim_matches('"'), version.trim_matches('"')))
        .find(|crate_| crate_.starts_with(start))
        .unwrap_or_else(|| start.to_owned())
}
