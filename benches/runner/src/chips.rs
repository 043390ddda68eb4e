// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests to a TPM that takes as long as real chips: the software TPM behind the
//! simulator's proxy, which waits before it answers. What is published of them and what
//! is assumed is in the simulator's own table.

use tdk_simulator::Swtpm;
use tdk_simulator::proxy::{Chip, Proxy};
use tdk_tests::live::Rule;
use tpm_derived_keys::tpm::Patience;

use crate::peers::{self, ASKER};
use crate::progress::Progress;
use crate::run::Run;
use crate::timing::{self, Contender};
use crate::{Result, scale, upcall};

/// The ways of asking, by the names that they have where there is no chip.
pub(crate) const WAYS: [&str; 3] = [upcall::PLAIN, upcall::ENCRYPTED, upcall::NONE_KEPT];

/// The section of a way.
pub(crate) fn section(way: &str) -> String {
    format!("chips: {way}")
}

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    if let Some(why) = upcall::lacks() {
        return run.leave_out("requests on the latencies of real chips", why);
    }
    let kept = peers::tpm_with_storage_key()?;
    let bare = Swtpm::builder().start()?;
    let chips = &Chip::ALL[..run.size.of(Chip::ALL.len(), Chip::ALL.len(), 1)];
    for way in WAYS {
        let tpm = if way == upcall::NONE_KEPT {
            &bare
        } else {
            &kept
        };
        let bus = if way == upcall::PLAIN {
            "plain"
        } else {
            "encrypted"
        };
        let mut proxies = Vec::new();
        for chip in chips {
            let proxy = Proxy::before(tpm).chip(*chip).start()?;
            let rule = rule(&proxy, bus);
            proxies.push((chip, proxy, rule));
        }
        let contenders = proxies.iter().map(|(chip, _, rule)| {
            let mut number = 0;
            Contender::new(chip.name, move || {
                number += 1;
                let key_id = rule.key_id(&number.to_string());
                let (took, serial) = upcall::request2(ASKER.as_ref(), &key_id, "32 path")?;
                upcall::forget(serial)?;
                Ok(took)
            })
        });
        let contenders = contenders.collect();
        timing::by_turns(run, &section(way), run.size.of(5, 2, 1), contenders)?;
    }
    let levels = run.size.of(&[1, 8, 64, 256, 1000][..], &[1, 8], &[2]);
    for chip in chips {
        let proxy = Proxy::before(&kept).chip(*chip).start()?;
        let rule = rule(&proxy, "encrypted");
        let mut progress = Progress::new(format!("askers at once, {}", chip.name), levels.len());
        let mut a_second = f64::INFINITY;
        for (number, askers) in levels.iter().enumerate() {
            progress.at(number);
            // More than that are not served before their turn is over.
            if timing::count(*askers) / a_second > Patience::default().turn.as_secs_f64() {
                break;
            }
            let requests = askers.max(&run.size.of(16, 8, 2)).to_owned();
            let level = scale::level(&rule, chip.name, *askers, requests)?;
            a_second = level.per_second();
            run.levels.push(level);
        }
    }
    Ok(())
}

fn rule(proxy: &Proxy, bus: &str) -> Rule {
    Rule::direct(&format!("tcti = \"{}\"\nbus = \"{bus}\"\n", proxy.tcti()))
}
