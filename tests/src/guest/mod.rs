// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guests: requests to kernels other than this machine's, from TPM devices.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tdk_simulator::guest::{Guest, GuestBuilder, Kernel, Run, System, TpmModel};

use crate::live::{Answer, errno_in};
use crate::oracle::Request;
use crate::programs;

/// What scripts in guests share.
pub const PRELUDE: &str = include_str!("prelude.sh");

/// Where keyctl(1) is in a guest.
pub const KEYCTL: &str = "/usr/bin/keyctl";

/// A kernel, what runs on it, and the device that the TPM is to it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The kernel.
    pub kernel: Kernel,
    /// What runs on it.
    pub system: System,
    /// The device.
    pub tpm: TpmModel,
}

impl Machine {
    /// One as this, with the callout installed.
    pub fn guest<'a>(&self) -> GuestBuilder<'a> {
        let guest = Guest::builder()
            .kernel(self.kernel.clone())
            .system(self.system)
            .tpm(self.tpm)
            .callout(programs::callout());
        match self.system {
            System::Initramfs => guest
                // A minute is much for it, but not on a busy host.
                .time_limit(Duration::from_mins(4))
                // busybox's setpriv knows no uids.
                .file("/usr/bin/setpriv", "/usr/bin/setpriv", 0o755),
            System::Debian => guest,
        }
    }
}

/// Kernel 6.1 and a discrete TPM.
pub const OLD: Machine = Machine {
    kernel: Kernel::V6_1,
    system: System::Initramfs,
    tpm: TpmModel::Tis,
};
/// Kernel 6.12 and a discrete TPM.
pub const NEW: Machine = Machine {
    kernel: Kernel::V6_12,
    system: System::Initramfs,
    tpm: TpmModel::Tis,
};
/// Kernel 6.12 and a TPM in firmware.
pub const NEW_CRB: Machine = Machine {
    kernel: Kernel::V6_12,
    system: System::Initramfs,
    tpm: TpmModel::Crb,
};
/// Debian with systemd, kernel 6.12 and a discrete TPM.
const DEBIAN: Machine = Machine {
    kernel: Kernel::V6_12,
    system: System::Debian,
    tpm: TpmModel::Tis,
};

/// Debian with systemd on kernel 6.12, if its image has been made.
pub fn debian() -> Option<Machine> {
    match System::Debian.image() {
        Ok(_) => Some(DEBIAN),
        Err(error) => {
            crate::not_run(&format!("a virtual machine with systemd ({error})"));
            None
        }
    }
}

/// Makes a disk whose files can be held to their content by fs-verity, in a directory.
pub fn verity_disk(directory: &Path) -> PathBuf {
    let disk = directory.join("disk");
    let made = Command::new("/sbin/mkfs.ext4")
        .args(["-q", "-b", "4096", "-O", "verity"])
        .arg(&disk)
        .arg("32M")
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    disk
}

/// What `fsverity measure` has printed of files in `/mnt`: `sha256:HEX /mnt/FILE`.
pub fn verity_digests(output: &str) -> Vec<Vec<u8>> {
    let lines = output.lines();
    let digests = lines.filter_map(|line| line.split_once(':')?.1.split_once(" /mnt/"));
    digests
        .map(|(digest, _)| hex::decode(digest).unwrap())
        .collect()
}

/// A script for a guest that asks for keys.
#[derive(Clone, Debug)]
pub struct Script {
    text: String,
    requests: usize,
    may_leave: usize,
    may_warn: Option<&'static str>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            text: PRELUDE.into(),
            requests: 0,
            may_leave: 0,
            may_warn: None,
        }
    }
}

impl Script {
    /// Adds lines of shell, with that many requests in them that reach the
    /// callout.
    pub fn lines(&mut self, text: &str, requests: usize) -> &mut Self {
        self.text.push_str(text);
        self.text.push('\n');
        self.requests += requests;
        self
    }

    /// Has a keyctl(1) ask for a key, in a session keyring of its own. What
    /// belongs to the identity is taken from the guest, not from the request.
    pub fn ask(&mut self, program: &str, request: &Request) -> &mut Self {
        let line = asking(
            program,
            request.uid,
            &request.key_type,
            &request.description,
            &request.info,
        );
        self.lines(&line, 1)
    }

    /// The same for a key of the kernel's own type, which reaches no callout: it
    /// is described by the key id alone.
    pub fn ask_kernel(&mut self, program: &str, request: &Request) -> &mut Self {
        let key_id = request.description.strip_prefix(b"tpm2:derived:");
        let key_id = key_id.expect("ours");
        let line = asking(program, request.uid, "derived", key_id, &request.info);
        self.lines(&line, 0)
    }

    /// Allows that many objects to be loaded in the TPM in the end.
    pub fn may_leave(&mut self, handles: usize) -> &mut Self {
        self.may_leave = handles;
        self
    }

    /// Allows that part of the kernel to warn of something.
    pub fn may_warn(&mut self, part: &'static str) -> &mut Self {
        self.may_warn = Some(part);
        self
    }

    /// Runs it on a machine, and fails if it fails, or if the machine was not
    /// left as it should be.
    pub fn run(&self, guest: GuestBuilder<'_>) -> (Vec<Answer>, Run) {
        let run = self.run_counting(guest, |_| self.requests);
        let output = String::from_utf8_lossy(&run.stdout);
        (output.lines().filter_map(answer).collect(), run)
    }

    /// Runs it on a machine, whatever comes of it.
    pub fn run_as_is(&self, guest: GuestBuilder<'_>) -> Run {
        guest
            .script(self.text.clone())
            .run()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same for a script of which only the output tells how many requests
    /// reached the callout.
    pub fn run_counting(&self, guest: GuestBuilder<'_>, count: impl Fn(&str) -> usize) -> Run {
        let run = guest
            .script(format!("{}handles\n", self.text))
            .run()
            .unwrap_or_else(|error| panic!("{error}"));
        let output = String::from_utf8(run.stdout.clone()).unwrap();
        let shown = format!(
            "{output}{}{}",
            String::from_utf8_lossy(&run.stderr),
            run.kernel_log_of_script()
        );
        assert_eq!(run.status, 0, "{shown}");
        let handles = output
            .lines()
            .find_map(|line| line.strip_prefix("handles "));
        let handles = handles.and_then(|count| count.parse::<usize>().ok());
        assert!(
            handles.is_some_and(|count| count <= self.may_leave),
            "{shown}"
        );
        let requests = count(&output);
        assert_log(&run, requests, self.may_warn);
        println!("{requests} requests: {:?}", run.duration);
        run
    }
}

/// A line of shell that has a keyctl(1) ask for a key.
fn asking(program: &str, uid: u32, key_type: &str, description: &[u8], info: &[u8]) -> String {
    let uid = match uid {
        0 => String::new(),
        uid => format!("/usr/bin/setpriv --reuid {uid} --regid {uid} --clear-groups "),
    };
    let words = [
        program.as_bytes(),
        b"request2",
        key_type.as_bytes(),
        description,
        info,
    ];
    let words = words.map(quoted).join(" ");
    format!("ask {uid}sh -c \"$read_key\" sh {words}")
}

/// A word of the shell's, whatever is in it.
fn quoted(word: &[u8]) -> String {
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'\'';
    if word.iter().all(is_plain) {
        return format!("'{}'", String::from_utf8_lossy(word));
    }
    // Only busybox's shell knows these.
    let mut text = String::from("$'");
    for byte in word {
        // Writing to a String does not fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
    text + "'"
}

fn answer(line: &str) -> Option<Answer> {
    if let Some(key) = line.strip_prefix("key ") {
        return Some(Ok(hex::decode(key).unwrap()));
    }
    let error = line.strip_prefix("error ")?;
    Some(Err(errno_in(error).unwrap_or_else(|| panic!("{error}"))))
}

/// Fails if the kernel found an error in itself.
pub fn assert_kernel_is_well(run: &Run) {
    for bad in ["WARNING:", "BUG:", "Oops", "Call Trace", "blocked for more"] {
        assert!(!run.kernel_log.contains(bad), "{}", run.kernel_log);
    }
}

/// Fails if the kernel had anything to say, or if there are more or fewer lines
/// than one for each request since the machine was switched on.
fn assert_log(run: &Run, requests: usize, may_warn: Option<&str>) {
    assert_kernel_is_well(run);
    let is_ours = |line: &&str| line.contains("key.tpm2_derived[");
    let log = run.kernel_log_of_script();
    // A log daemon has the kernel's lines as well as ours.
    let all = if run.journal.is_empty() {
        log
    } else {
        &run.journal
    };
    assert_eq!(all.lines().filter(is_ours).count(), requests, "{all}");
    for line in log.lines().filter(|line| !is_ours(line)) {
        // Of a machine that has much else to do.
        let late = line.contains("clocksource: Long readout interval")
            || line.contains("hrtimer: interrupt took");
        if late || may_warn.is_some_and(|part| line.contains(part)) {
            continue;
        }
        let priority = line
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
            .and_then(|(number, _)| number.parse::<u32>().ok());
        // Notices, and what is of no interest.
        assert!(priority.is_some_and(|number| number % 8 >= 5), "{line}");
    }
}
