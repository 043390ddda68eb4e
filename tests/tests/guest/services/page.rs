// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `docs/services.md` says.

use std::fmt::Write;

use tdk_tests::project;

use super::TDK;

/// By which each row's unit asks.
pub(super) const IDENTITIES: [&str; 3] = ["path", "csum", "id"];

/// The document.
pub(super) struct Page(String);

/// A row of the table of settings.
pub(super) struct Row {
    /// What its unit and its key id are called.
    pub(super) name: String,
    pub(super) settings: Vec<String>,
    pub(super) in_users_manager: bool,
    pub(super) uid: String,
    /// What each of [`IDENTITIES`] is said to get.
    pub(super) cells: Vec<String>,
}

/// A row of the table of keyrings.
pub(super) struct Ring {
    pub(super) mode: String,
    /// What becomes of a key in @s and of one in @u.
    pub(super) cells: Vec<String>,
}

impl Page {
    pub(super) fn read() -> Self {
        Self(std::fs::read_to_string(project().join("docs/services.md")).unwrap())
    }

    /// The units, each as its file and what is in it.
    pub(super) fn units(&self) -> Vec<(&str, &str)> {
        let blocks = self.0.split("```ini\n# ").skip(1);
        blocks
            .map(|block| block.split("```").next().unwrap())
            .map(|unit| unit.split_once('\n').unwrap())
            .collect()
    }

    /// The commands that make keys by hand.
    pub(super) fn commands(&self) -> Vec<&str> {
        let lines = self.0.lines();
        lines
            .filter(|line| line.starts_with("tdk derive "))
            .collect()
    }

    /// The cells of the table that begins with this line.
    fn table(&self, first_line: &str) -> Vec<Vec<String>> {
        let lines = self.0.lines().skip_while(|line| *line != first_line);
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
        lines
            .skip(2)
            .map_while(|line| line.strip_prefix('|')?.strip_suffix('|'))
            .map(cells)
            .collect()
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let table = self.table("| Settings | uid | `path` | `csum` | `id` |");
        assert!(table.len() >= 20, "the table of settings is not found");
        let row = |(n, mut cells): (usize, Vec<String>)| {
            let answers = cells.split_off(2);
            let [settings, uid] = <[String; 2]>::try_from(cells).unwrap();
            let quoted = settings.split('`').skip(1).step_by(2);
            Row {
                name: format!("row{n}"),
                settings: quoted.map(str::to_owned).collect(),
                in_users_manager: settings.starts_with("in a user's manager"),
                uid,
                cells: answers,
            }
        };
        table.into_iter().enumerate().map(row).collect()
    }

    pub(super) fn rings(&self) -> Vec<Ring> {
        let table = self.table("| `KeyringMode=` | asked into @s | asked into @u |");
        assert_eq!(table.len(), 3, "the table of keyrings is not found");
        let ring = |mut cells: Vec<String>| Ring {
            cells: cells.split_off(1),
            mode: cells[0].trim_matches('`').to_owned(),
        };
        table.into_iter().map(ring).collect()
    }
}

impl Row {
    /// The unit, as its file and what is in it.
    pub(super) fn unit(&self) -> (String, String) {
        let Self { name, .. } = self;
        let mut text = format!(
            "[Service]\nType=oneshot\nStandardOutput=append:/run/rows/{name}\n\
             StandardError=append:/run/rows/{name}\n"
        );
        let mut prefix = "";
        for setting in &self.settings {
            match setting.strip_prefix("ExecStart=") {
                Some(special) => prefix = special,
                None => writeln!(text, "{setting}").unwrap(),
            }
        }
        // What becomes of the last command becomes of the unit.
        for (identity, ignore) in IDENTITIES.into_iter().zip(["-", "-", ""]) {
            writeln!(
                text,
                "ExecStart={ignore}{prefix}{TDK} request --key-id {name} --what 32 \
                 --identity {identity}"
            )
            .unwrap();
        }
        let whose = if self.in_users_manager {
            "user"
        } else {
            "system"
        };
        (format!("/etc/systemd/{whose}/{name}.service"), text)
    }

    /// How many of its requests the callout hears of.
    pub(super) fn requests(&self) -> usize {
        let unheard = ["killed", "EPERM"];
        let heard = |cell: &&String| !unheard.contains(&cell.as_str());
        self.cells.iter().filter(heard).count()
    }
}

impl Ring {
    /// What the unit is called.
    pub(super) fn name(&self) -> String {
        format!("ring-{}", self.mode)
    }

    /// The unit: `ExecStartPre=` asks, and `ExecStart=` looks.
    pub(super) fn unit(&self) -> (String, String) {
        let (name, mode) = (self.name(), &self.mode);
        let text = format!(
            "[Service]\nType=oneshot\nUser=user\nKeyringMode={mode}\n\
             StandardOutput=append:/run/rows/{name}\n\
             ExecStartPre=/bin/sh -c 'for ring in s u; do keyctl request2 user \
             tpm2:derived:{mode}-$$ring \"32 id\" @$$ring >/dev/null || exit 1; done'\n\
             ExecStart=/bin/sh -c 'for ring in s u; do keyctl request user \
             tpm2:derived:{mode}-$$ring >/dev/null 2>&1 && echo found || echo gone; done'\n"
        );
        (format!("/etc/systemd/system/{name}.service"), text)
    }
}
