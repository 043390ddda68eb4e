// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `docs/services.md`: its units are started, its tables compared with what comes
//! of them, and its commands run.

mod page;
mod scripts;

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use tdk_simulator::Swtpm;
use tdk_simulator::guest::GuestBuilder;
use tdk_tests::guest::{Script, debian};
use tdk_tests::oracle::{self, Request};
use tdk_tests::transcript::{self, Part};
use tdk_tests::{golden, programs};

use page::{IDENTITIES, Page, Ring, Row};

const TDK: &str = "/usr/bin/tdk";
const MAC: &str = "/usr/local/bin/mac";

/// The page's units that are started by name.
const UNITS: [&str; 4] = ["mac", "db", "logon", "web"];

#[test]
fn what_the_page_says() {
    let Some(machine) = debian() else { return };
    let page = Page::read();
    let (rows, rings) = (page.rows(), page.rings());
    let directory = tempfile::tempdir().unwrap();
    let mut guest = machine
        .guest()
        .state(golden::state())
        .time_limit(Duration::from_mins(6))
        .file(programs::tdk_file(), TDK, 0o755)
        .file(programs::mac(), MAC, 0o755)
        .disk(scripts::image_with_tdk(directory.path()));
    let written = scripts::UNITS.into_iter().chain(page.units());
    for (file, text) in written {
        guest = guest.text(file, text);
    }
    let made = rows.iter().map(Row::unit);
    for (file, text) in made.chain(rings.iter().map(Ring::unit)) {
        guest = guest.text(file, text);
    }

    let seen = Seen::of(guest, &script(&page, &rows, &rings));
    for row in &rows {
        seen.check_row(row);
    }
    for ring in &rings {
        assert_eq!(seen.part(&ring.name()), ring.cells, "{seen}");
    }
    seen.check_units();
    seen.check_what_else_is_said();
    seen.check_records();
}

/// Everything, in one boot.
fn script(page: &Page, rows: &[Row], rings: &[Ring]) -> Script {
    let mut script = Script::default();
    script.lines(scripts::PREPARE, 0);
    for row in rows {
        let systemctl = if row.in_users_manager {
            "users"
        } else {
            "systemctl"
        };
        // Those that get no key fail.
        let line = format!("{systemctl} start {} 2>/dev/null", row.name);
        script.lines(&line, row.requests());
    }
    // A credential is asked for by each command of its unit.
    script.lines(&format!("systemctl start {}", UNITS.join(" ")), 5);
    for ring in rings {
        script.lines(&format!("systemctl start {}", ring.name()), 2);
    }
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    let names = [&UNITS[..], &names].concat().join(" ");
    script.lines(
        &format!("echo == results; systemctl show -p Id,Result {names}"),
        0,
    );
    script.lines(scripts::SHOW, 1);
    script.lines("echo == derived", 0);
    for command in page.commands() {
        script.lines(command, 0);
    }
    script
        .lines(scripts::NO_KEY, 1)
        .lines(scripts::TAKEN, 3)
        .lines(scripts::QUOTA, 2)
        // One of the two lines is not the callout's.
        .lines(scripts::AUDIT, 2);
    script.lines("echo == the page", 0);
    script.lines(&audit_page().script(None), 2);
    script
}

/// The session of `docs/audit.md`.
fn audit_page() -> Part {
    let [part] = <[_; 1]>::try_from(transcript::parts("docs/audit.md")).unwrap();
    part
}

/// What came of it.
struct Seen {
    output: String,
    journal: String,
    /// The machine's TPM, here.
    tpm: Swtpm,
    /// The SHA-256 of the machine's tdk.
    sum: Vec<u8>,
}

/// All there is to know when something is not as it is said to be.
impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.output, self.journal)
    }
}

impl Seen {
    fn of(guest: GuestBuilder<'_>, script: &Script) -> Self {
        let (_, run) = script.run(guest);
        Self {
            output: String::from_utf8(run.stdout).unwrap(),
            journal: run.journal,
            tpm: golden::tpm(),
            sum: sha256(&programs::tdk_file()),
        }
    }

    /// The lines of a part of the output.
    fn part(&self, name: &str) -> Vec<&str> {
        let begin = format!("== {name}");
        let lines = self.output.lines().skip_while(|line| *line != begin);
        let lines = lines.skip(1).take_while(|line| !line.starts_with("== "));
        lines.collect()
    }

    /// What the callout says about a key id: the asker's uid, for each request.
    fn uids(&self, key_id: &str) -> Vec<u32> {
        let id = format!(" id=\"{key_id}\"");
        let lines = self.journal.lines().filter(|line| line.contains(&id));
        let uid = |line: &str| {
            let (_, rest) = line.split_once(" uid=\"").unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        lines.map(uid).collect()
    }

    /// What systemd says came of its units.
    fn results<'a>(&'a self) -> HashMap<&'a str, &'a str> {
        // Two lines a unit, Result and Id in either order, and an empty one.
        let lines: Vec<_> = self.part("results");
        let units = lines.split(|line| line.is_empty());
        let unit = |lines: &[&'a str]| {
            let value = |name| lines.iter().find_map(|line| line.strip_prefix(name));
            Some((value("Id=")?.strip_suffix(".service")?, value("Result=")?))
        };
        units.filter_map(unit).collect()
    }

    /// What `tdk derive` makes.
    fn key(&self, key_id: &str, identity: &str, uid: u32, value: &[u8]) -> String {
        let request = Request::user(key_id, &format!("32 {identity}"), uid, value);
        hex::encode(oracle::key(&self.tpm.tcti(), &request))
    }

    fn check_row(&self, row: &Row) {
        let told = format!("{} {:?}\n{self}", row.name, row.settings);
        let uids = self.uids(&row.name);
        assert_eq!(uids.len(), row.requests(), "{told}");
        assert!(uids.windows(2).all(|two| two[0] == two[1]), "{told}");
        let uid = uids.first().copied().unwrap_or_default();
        match row.uid.as_str() {
            "" => assert!(uids.is_empty(), "{told}"),
            // systemd's range for such users.
            "its own" => assert!((61184..=65519).contains(&uid), "{told}"),
            said => assert_eq!(uid.to_string(), said, "{told}"),
        }
        // What failed has a line, too.
        let mut lines = self.part(&row.name).into_iter();
        for (cell, identity) in row.cells.iter().zip(IDENTITIES) {
            if cell == "killed" {
                assert_eq!(self.results()[row.name.as_str()], "signal", "{told}");
                continue;
            }
            let line = lines.next().unwrap_or_else(|| panic!("{told}"));
            let value: &[u8] = match identity {
                "path" => TDK.as_bytes(),
                "csum" => &self.sum,
                _ => b"",
            };
            match cell.as_str() {
                "key" => assert_eq!(line, self.key(&row.name, identity, uid, value), "{told}"),
                "EACCES" => assert!(line.contains("(EACCES)"), "{told}"),
                "EPERM" => assert!(line.contains("may not use the kernel's keyrings"), "{told}"),
                other => panic!("{other}"),
            }
        }
        assert_eq!(lines.next(), None, "{told}");
    }

    /// The units of the page, and the commands beside them.
    fn check_units(&self) {
        for unit in UNITS {
            assert_eq!(self.results()[unit], "success", "{unit}\n{self}");
        }
        let cookies = self.key("cookies", "path", 1000, MAC.as_bytes());
        let db = self.key("db", "id", 1000, b"");
        let web = self.key("web", "id", 0, b"");
        assert_eq!(self.part("derived"), [&cookies, &db, &web], "{self}");
        // They print the MAC of the machine's name, and the sums of their keys.
        let mac = format!("echo guest | openssl dgst -sha256 -mac HMAC -macopt hexkey:{cookies}");
        let sum_of = |key: &str| format!("printf '{}' | openssl dgst -sha256", escaped(key));
        for command in [mac, sum_of(&db), sum_of(&web)] {
            let output = programs::stdout(&programs::run("bash", &["-c", &command]));
            let printed = output.rsplit(' ').next().unwrap();
            assert!(self.journal.contains(printed), "{command}\n{self}");
        }
    }

    fn check_what_else_is_said(&self) {
        // A credential that is none keeps its service from starting.
        assert_eq!(self.part("no key"), ["Result=exit-code"], "{self}");

        // The first units get keys, and there is no device to wait for.
        let early = self.key("early", "path", 0, TDK.as_bytes());
        assert_eq!(self.part("early"), [early], "{self}");
        assert!(self.part("devices").is_empty(), "{self}");

        // A number that is taken is no dynamic user's any more.
        let dynamic = self.uids("dynamic");
        assert_eq!(dynamic[0], dynamic[1], "{self}");
        assert_ne!(dynamic[1], dynamic[2], "{self}");

        // With root's quota full, users have their keys, at their own cost.
        let key = self.key("quota", "id", 1000, b"");
        assert_eq!(self.part("quota")[..2], [&key, "user;1000;0"], "{self}");
    }
}

/// What the journal and `tdk log` have of requests.
impl Seen {
    fn check_records(&self) {
        let lines = self.part("audit");
        assert_eq!(
            lines[..3],
            ["decision=granted", "decision=granted", FROM_JOURNAL],
            "{self}"
        );
        // The second is the user's, which is in the journal, and nobody's decision.
        let [json] = lines[3..] else { panic!("{self}") };
        let record: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            record["id"], "audit\nTDK_DECISION=refused\n\u{1b}[2J.",
            "{self}"
        );
        assert_eq!(
            record["exe"], "/usr/local/bin/key\nTDK_UID=7\nctl",
            "{self}"
        );
        assert_eq!(
            (&record["uid"], &record["decision"]),
            (&0.into(), &"granted".into()),
            "{self}"
        );
        let (_, said) = self
            .output
            .split_once("== the page\n")
            .expect("the page's session");
        audit_page().compare(said);
    }
}

const FROM_JOURNAL: &str = "tdk: this is from the journal";

/// Hexadecimal digits as printf(1) reads bytes.
fn escaped(hex: &str) -> String {
    let mut text = String::new();
    for pair in hex.as_bytes().chunks(2) {
        write!(text, "\\x{}", String::from_utf8_lossy(pair)).unwrap();
    }
    text
}

fn sha256(path: &Path) -> Vec<u8> {
    let output = programs::run("sha256sum", &[path.to_str().unwrap()]);
    hex::decode(&programs::stdout(&output)[..64]).unwrap()
}
