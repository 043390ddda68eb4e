// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `docs/ssh.md`, typed as it is there; and what else clients do to an agent.

use std::time::Duration;

use tdk_simulator::StateSource;
use tdk_simulator::guest::{GuestBuilder, Kernel};
use tdk_tests::guest::debian;
use tdk_tests::transcript::{self, Part};
use tdk_tests::{golden, programs, project};

/// What signing needs of the kernel.
const PARSER: &str = "pkcs8_key_parser";

/// The machine that is logged in to, which is this one.
const SERVER: &str = include_str!("ssh/server.sh");

/// What clients do, a function for each, which writes what came of it.
const CLIENTS: &str = include_str!("ssh/clients.sh");

/// What has to come of it.
const EXPECTED: &str = include_str!("ssh/clients.txt");

fn unit() -> String {
    let page = std::fs::read_to_string(project().join("docs/ssh.md")).unwrap();
    let shown = page.split("# cat /etc/systemd/system/backup-agent.service\n");
    let unit = shown.last().and_then(|rest| rest.split("\n# ").next());
    unit.unwrap().to_owned() + "\n"
}

/// Has a machine type a part of the page, and then this.
fn replay(guest: GuestBuilder<'_>, part: &Part, then: &str) -> (String, StateSource) {
    let guest = guest
        .module(PARSER)
        // It takes many steps.
        .time_limit(Duration::from_mins(10))
        .file(programs::tdk_file(), "/usr/bin/tdk", 0o755)
        .text("/etc/systemd/system/backup-agent.service", unit())
        .script([SERVER, &part.script(None), then].concat());
    let run = guest.run().unwrap_or_else(|error| panic!("{error}"));
    let output = String::from_utf8(run.stdout).unwrap();
    println!("{}: {:?}\n{output}", part.name, run.duration);
    part.compare(&output);
    (output, StateSource::Resume(run.state.unwrap()))
}

#[test]
fn a_login_with_a_key_that_nobody_can_read() {
    let Some(machine) = debian() else { return };
    let parts = transcript::parts("docs/ssh.md");
    let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["first", "reboot"]);
    let [first, reboot] = <[_; 2]>::try_from(parts).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let debian = |kernel, state| machine.guest().kernel(kernel).state(state).root(&root);

    let guest = debian(Kernel::V6_12, golden::state());
    let (output, state) = replay(guest, &first, CLIENTS);
    let (_, clients) = output.split_once("\nclients\n").expect("all of the page");
    assert_eq!(clients, EXPECTED);
    replay(debian(Kernel::V6_1, state), &reboot, "");
}
