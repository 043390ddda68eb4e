// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One key through the kernel: `keyctl request2` as a process, its own start and end
//! included, and for what is quick the system call alone.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tdk_simulator::Swtpm;
use tdk_sys::SESSION_KEYRING;
use tdk_tests::live::Rule;

use crate::Result;
use crate::peers::{self, ASKER};
use crate::run::Run;
use crate::timing::{self, Contender};

pub(crate) const SECTION: &str = "upcall";
pub(crate) const NOOP: &str = "a callout that does nothing";
pub(crate) const PLAIN: &str = "direct, plain";
pub(crate) const ENCRYPTED: &str = "direct, encrypted";
pub(crate) const NONE_KEPT: &str = "direct, encrypted, no storage key kept";
pub(crate) const PIPE: &str = "pipe form, encrypted";
pub(crate) const PYTHON: &str = "Python, tpm2-pytss";
pub(crate) const TOOLS: &str = "tpm2-tools and openssl";
pub(crate) const IN_KERNEL: &str = "the key type in the kernel";

/// The system call alone.
pub(crate) const SYSTEM_CALL: &str = "request_key";

/// Why upcalls can't be measured, if they can't.
pub(crate) fn lacks() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("requests on the live kernel need root");
    }
    if !reaches_this_system() {
        return Some("upcalls don't reach this system; is it a container?");
    }
    None
}

/// Whether the configuration that is written here is the one that is read.
fn reaches_this_system() -> bool {
    let Ok(noop) = peers::noop() else {
        return false;
    };
    let rule = Rule::with_program(&noop, "");
    request(&rule, "probe").is_ok()
}

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    if let Some(why) = lacks() {
        return run.leave_out("requests through the kernel", why);
    }
    let kept = peers::tpm_with_storage_key()?;
    let bare = Swtpm::builder().start()?;
    let plain = format!("tcti = \"{}\"\nbus = \"plain\"\n", kept.tcti());
    let encrypted = format!("tcti = \"{}\"\n", kept.tcti());
    let none_kept = format!("tcti = \"{}\"\n", bare.tcti());

    let mut callouts = vec![
        Callout::new(NOOP, Rule::with_program(&peers::noop()?, "")),
        Callout::new(PLAIN, Rule::direct(&plain)),
        Callout::new(ENCRYPTED, Rule::direct(&encrypted)),
        Callout::new(NONE_KEPT, Rule::direct(&none_kept)),
        Callout::new(PIPE, Rule::pipe(&encrypted)),
    ];
    let quick = callouts.len();
    if peers::is_installed("tpm2_createprimary") {
        let program = peers::peer("tpm2-tools.sh");
        callouts.push(Callout::new(
            TOOLS,
            Rule::with_program(&program, &encrypted),
        ));
    } else {
        run.leave_out("tpm2-tools as a callout", "they are not installed")?;
    }
    if peers::has_pytss() {
        let program = peers::peer("plugin.py");
        callouts.push(Callout::new(
            PYTHON,
            Rule::with_program(&program, &encrypted),
        ));
    } else {
        run.leave_out(
            "the Python plugin as a callout",
            "tpm2-pytss is not installed",
        )?;
    }
    for callout in &callouts[1..] {
        callout.gives_the_right_key(&kept.tcti(), &bare.tcti())?;
    }

    let (fast, slow) = callouts.split_at(quick);
    let contenders = fast.iter().map(|callout| callout.contender());
    let slow = slow.iter().map(|callout| callout.contender().every(8));
    let contenders = contenders.chain(slow).collect();
    timing::by_turns(run, SECTION, run.size.of(400, 40, 1), contenders)?;
    let calls = fast.iter().map(|callout| {
        let mut number = 0;
        Contender::new(callout.name, move || {
            number += 1;
            request(&callout.rule, &format!("call-{number}"))
        })
    });
    let calls = calls.collect();
    timing::by_turns(run, SYSTEM_CALL, run.size.of(400, 40, 1), calls)
}

/// Somebody who answers.
struct Callout {
    name: &'static str,
    rule: Rule,
}

impl Callout {
    fn new(name: &'static str, rule: Rule) -> Self {
        Self { name, rule }
    }

    fn contender(&self) -> Contender<'_> {
        let mut number = 0;
        Contender::new(self.name, move || {
            number += 1;
            let key_id = self.rule.key_id(&format!("keyctl-{number}"));
            let (took, serial) = request2(Path::new(ASKER), &key_id, "32 path")?;
            forget(serial)?;
            Ok(took)
        })
    }

    /// What it gives is what `tdk derive` gives, by one of these TPMs.
    fn gives_the_right_key(&self, kept: &str, bare: &str) -> Result<()> {
        let key_id = self.rule.key_id("right");
        let (_, serial) = request2(Path::new(ASKER), &key_id, "32 path")?;
        let mut pipe = Command::new(ASKER);
        let key = timing::process(pipe.args(["pipe", &serial.to_string()]))?.1;
        let key = hex::encode(key.stdout);
        let tcti = if self.name == NONE_KEPT { bare } else { kept };
        let mut derive = peers::derive(tcti, &self.rule.config_file());
        let derived = timing::process(derive.args(["--key-id", &key_id]))?.1;
        if key.as_bytes() != derived.stdout.trim_ascii() {
            return Err(format!("{} gives another key than tdk derive", self.name).into());
        }
        forget(serial)
    }
}

/// `keyctl request2`, by this copy of keyctl; from its start to its end.
pub(crate) fn request2(keyctl: &Path, key_id: &str, info: &str) -> Result<(Duration, i32)> {
    let description = format!("tpm2:derived:{key_id}");
    request2_by(keyctl, ["user", &description, info])
}

/// The same for a type and a description.
pub(crate) fn request2_by(keyctl: &Path, words: [&str; 3]) -> Result<(Duration, i32)> {
    let mut command = Command::new(keyctl);
    command.arg("request2").args(words).arg("@s");
    let (took, output) = timing::process(&mut command)?;
    let serial = std::str::from_utf8(output.stdout.trim_ascii())?.parse()?;
    Ok((took, serial))
}

/// The system call, by this process; the key is gone afterwards.
pub(crate) fn request(rule: &Rule, name: &str) -> Result<Duration> {
    request_of(c"user", &format!("tpm2:derived:{}", rule.key_id(name)))
}

/// The same for a type and a description.
pub(crate) fn request_of(key_type: &CStr, description: &str) -> Result<Duration> {
    let description = CString::new(description)?;
    let start = Instant::now();
    let serial = tdk_sys::request_key(key_type, &description, Some(c"32 path"), SESSION_KEYRING);
    let took = start.elapsed();
    forget(serial?)?;
    Ok(took)
}

/// The key is no longer found, and nobody's quota has it.
pub(crate) fn forget(serial: i32) -> Result<()> {
    let key = linux_keyutils::Key::from_id(linux_keyutils::KeySerialId(serial));
    key.invalidate()
        .map_err(|error| format!("key {serial} can't be removed: {error}").into())
}
