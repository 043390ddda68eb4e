// SPDX-License-Identifier: Apache-2.0 OR MIT
//! tpm2-abrmd(8), the resource manager of user space, on a bus of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tdk_simulator::Swtpm;

/// A bus, and the daemon on it.
#[derive(Debug)]
pub struct Abrmd {
    bus: Child,
    daemon: Child,
    address: String,
}

impl Abrmd {
    /// The programs that have to be installed.
    pub const PROGRAMS: [&str; 2] = ["dbus-daemon", "tpm2-abrmd"];

    /// In front of `tpm`.
    pub fn before(tpm: &Swtpm) -> Self {
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let stdout = bus.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let daemon = Command::new("tpm2-abrmd")
            .args(["--session", "--allow-root", "--tcti"])
            .arg(tpm.tcti())
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self {
            bus,
            daemon,
            address,
        };
        this.wait_for_name();
        this
    }

    /// Its address for who is on the same bus.
    pub fn tcti(&self) -> &'static str {
        "tabrmd:bus_type=session"
    }

    /// The bus, for `DBUS_SESSION_BUS_ADDRESS`.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn wait_for_name(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let names = Command::new("dbus-send")
                .arg(format!("--bus={}", self.address))
                .args(["--print-reply", "--dest=org.freedesktop.DBus", "/"])
                .arg("org.freedesktop.DBus.ListNames")
                .output()
                .unwrap();
            if String::from_utf8_lossy(&names.stdout).contains("com.intel.tss2.Tabrmd") {
                return;
            }
            assert!(Instant::now() < deadline, "tpm2-abrmd does not start");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Abrmd {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
