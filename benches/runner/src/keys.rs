// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many keys of one identity by one process: `tdk derive` with so many key ids.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Result;
use crate::peers;
use crate::run::Run;
use crate::timing::{self, Contender};
use crate::wire::Wire;

pub(crate) const SECTION: &str = "keys of one process";
pub(crate) const ARGUMENTS: &str = "tdk derive, key ids as arguments";
pub(crate) const FILE: &str = "tdk derive, key ids in a file";
pub(crate) const HOW: [&str; 2] = [ARGUMENTS, FILE];
/// How many keys.
pub(crate) const COUNTS: [u64; 4] = [1, 10, 1000, 100_000];
/// How often TPM2_HMAC was sent.
pub(crate) const OPERATIONS: &str = "TPM2_HMAC commands";

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    // What a command line may be long: a quarter of a stack, and 6 MiB.
    let stack = getrlimit(Resource::Stack);
    let most = Rlimit {
        current: Some(32 << 20),
        maximum: stack.maximum,
    };
    setrlimit(Resource::Stack, most)?;
    let tpm = peers::tpm_with_storage_key()?;
    let mut wire = Wire::before(&tpm)?;
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("config.toml");
    fs::write(&config, "bus = \"plain\"\n")?;
    let path = directory.path();
    let derive = |how: &str, tcti: &str, count: u64| {
        let mut command = peers::derive(tcti, &config);
        if how == FILE {
            command
                .arg("--key-id-file")
                .arg(path.join(count.to_string()));
        } else {
            command.args((0..count).map(|number| format!("--key-id=v{number}")));
        }
        command
    };
    let (tpm, derive) = (&tpm, &derive);
    let most = run.size.of(100_000, 100_000, 1000);
    let counts = COUNTS.into_iter().filter(|count| *count <= most);
    let mut contenders = Vec::new();
    for count in counts {
        let key_ids: Vec<_> = (0..count).map(|number| format!("v{number}")).collect();
        fs::write(path.join(count.to_string()), key_ids.join("\n"))?;
        for how in HOW {
            let (_, output) = timing::process(&mut derive(how, &wire.tcti(), count))?;
            let lines = String::from_utf8(output.stdout)?.lines().count();
            let seen = wire.take();
            let operations = seen.iter().filter(|(name, _)| name == "TPM2_HMAC");
            let operations = timing::count(operations.count());
            if u64::try_from(lines)? != count {
                return Err(format!("{how}: {lines} keys instead of {count}").into());
            }
            run.add(OPERATIONS, how, Some(count), vec![operations]);
            let contender = move || Ok(timing::process(&mut derive(how, &tpm.tcti(), count))?.0);
            contenders.push(Contender::new(how, contender).at(count));
        }
    }
    timing::by_turns(run, SECTION, run.size.of(15, 5, 1), contenders)?;
    Ok(setrlimit(Resource::Stack, stack)?)
}
