// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whole requests, through the kernel and the callout as it is shipped, by turns
//! without a policy and with one. As root, where upcalls reach this system.

use std::fs;
use std::time::{Duration, Instant};

use linux_keyutils::{KeyRing, KeyRingIdentifier};
use tdk_simulator::Swtpm;
use tdk_simulator::proxy::{Chip, Proxy};
use tdk_tests::live::Rule;
use tpm_derived_keys::policy::Policy;

/// A callout with a TPM, its policy and the requests it has had.
struct Callout {
    rule: Rule,
    took: Vec<Duration>,
}

impl Callout {
    fn new(config: &str, policy: Option<&str>) -> Self {
        let rule = Rule::direct(config);
        if let Some(text) = policy {
            fs::write(rule.directory().join(Policy::FILE), text).expect("a policy");
        }
        Self {
            rule,
            took: Vec::new(),
        }
    }

    fn ask(&mut self, ring: KeyRing) {
        let name = self.rule.key_id(&self.took.len().to_string());
        let description = format!("tpm2:derived:{name}");
        let start = Instant::now();
        let key = ring.request_key(&description, Some("32 path"));
        self.took.push(start.elapsed());
        let key = key.expect("a key");
        key.invalidate().expect("it is ours");
    }

    fn median(&mut self) -> Duration {
        self.took.sort();
        self.took[self.took.len() / 2]
    }
}

/// Prints what each of the policies adds to a request to a software TPM, which may take
/// as long as a chip.
pub(super) fn compare(policies: &[(String, String)], chip: Option<Chip>, rounds: usize) {
    let tpm = Swtpm::builder().start().expect("a TPM");
    let proxy = chip.map(|chip| Proxy::before(&tpm).chip(chip).start().expect("a proxy"));
    let tcti = proxy.as_ref().map_or_else(|| tpm.tcti(), Proxy::tcti);
    let config = format!("tcti = \"{tcti}\"\n");
    let ring = KeyRing::from_special_id(KeyRingIdentifier::Process, true).expect("a keyring");
    let mut without = Callout::new(&config, None);
    let mut with: Vec<_> = policies
        .iter()
        .map(|(_, text)| Callout::new(&config, Some(text)))
        .collect();
    for _ in 0..rounds {
        without.ask(ring);
        for callout in &mut with {
            callout.ask(ring);
        }
    }
    let base = without.median().as_secs_f64();
    let name = chip.map_or("swtpm", |chip| chip.name);
    println!("\n| {name}: a request | median of {rounds} | of the first |\n|---|---|---|");
    println!("| without a policy | {:.2} ms | 1 |", base * 1000.0);
    for ((name, _), callout) in policies.iter().zip(&mut with) {
        let median = callout.median().as_secs_f64();
        println!(
            "| {name} | {:.2} ms | {:.3} |",
            median * 1000.0,
            median / base
        );
    }
}
