// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sessions that a page shows: what was typed, and what came of it, to be typed
//! again.
//!
//! A page has parts, each on a machine of its own, which begin with
//! `<!-- replay: NAME -->`. In its blocks a line `# COMMAND` was typed (on several
//! lines, if they end in `\`); the lines after it are the output, where `…` stands
//! for anything. A line `Enter ...:` shows only on a terminal, and is where the
//! recovery key was typed: a line of the output with eight groups of letters.
//!
//! Blocks in a language are files, whose first line says where they are: `# PATH`;
//! but those in `sh` are commands that nobody types again.

use std::fmt::Write;
use std::fs;

use crate::project;

/// One command and its output.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: Vec<String>,
}

/// One part of a page.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    steps: Vec<Step>,
}

/// The parts of a page in the project, by its name there.
pub fn parts(page: &str) -> Vec<Part> {
    parse(&fs::read_to_string(project().join(page)).unwrap())
}

fn parse(page: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("<!-- replay: ") {
            parts.push(Part {
                name: name.strip_suffix(" -->").expect(line).into(),
                steps: Vec::new(),
            });
        } else if let Some(language) = line.strip_prefix("```") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            if language.is_empty() {
                let part = parts.last_mut().expect("a part before the first block");
                part.add(&block);
            }
        }
    }
    parts
}

/// The files that a page shows, each as its path and what is in it.
pub fn files(page: &str) -> Vec<(String, String)> {
    parse_files(&fs::read_to_string(project().join(page)).unwrap())
}

fn parse_files(page: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            if !["", "sh"].contains(&language) {
                let path = block[0].strip_prefix("# ").expect("a path");
                files.push((path.into(), block.join("\n") + "\n"));
            }
        }
    }
    files
}

impl Part {
    fn add(&mut self, block: &[&str]) {
        let mut typing = false;
        for line in block {
            if typing {
                let step = self.steps.last_mut().expect("it has begun");
                step.command += "\n";
                step.command += line;
            } else if let Some(command) = line.strip_prefix("# ") {
                self.steps.push(Step {
                    command: command.into(),
                    output: Vec::new(),
                });
            } else {
                let step = self.steps.last_mut();
                let step = step.unwrap_or_else(|| panic!("output of no command: {line}"));
                step.output.push((*line).into());
                continue;
            }
            typing = line.ends_with('\\');
        }
    }

    /// A script that types it, and where `Enter ...:` is asked, the recovery key,
    /// if it is known already.
    pub fn script(&self, recovery_key: Option<&str>) -> String {
        let mut script = String::from(SCRIPT);
        if let Some(key) = recovery_key {
            let _ = writeln!(script, "echo {key} >/run/typed");
        }
        for (number, step) in self.steps.iter().enumerate() {
            // The machine is switched off at the end of the script anyway.
            if step.command != "systemctl reboot" {
                let command = &step.command;
                let _ = writeln!(
                    script,
                    "{{ {command}\n}} </run/typed >/run/said 2>&1\nafter {number} $?"
                );
            }
        }
        script
    }

    /// The output that is shown, line by line.
    pub fn shown(&self) -> impl Iterator<Item = &str> {
        self.steps
            .iter()
            .flat_map(|step| &step.output)
            .map(String::as_str)
    }

    /// Fails if something else came of it than is shown.
    pub fn compare(&self, output: &str) {
        let mut rest = output;
        for (number, step) in self.steps.iter().enumerate() {
            if step.command == "systemctl reboot" {
                continue;
            }
            let mark = format!("\n<{number} ");
            let (said, more) = rest.split_once(&mark).expect(&step.command);
            let (status, more) = more.split_once(">\n").expect(&step.command);
            rest = more;
            let seen: Vec<_> = said.trim_end_matches('\n').lines().collect();
            let is_prompt = |line: &&String| line.starts_with("Enter ") && line.ends_with(':');
            let shown = step.output.iter().filter(|line| !is_prompt(line));
            let shown: Vec<_> = shown.map(String::as_str).collect();
            let same = shown.len() == seen.len()
                && shown
                    .iter()
                    .zip(&seen)
                    .all(|(shown, seen)| fits(shown, seen));
            // Of a failure something has to be seen.
            let fine = status == "0" || !shown.is_empty();
            assert!(
                same && fine,
                "# {}\nshown: {shown:#?}\nseen: {seen:#?}\nstatus: {status}",
                step.command
            );
        }
    }
}

/// What the recovery key was in the output of a part's script.
pub fn recovery_key(output: &str) -> Option<&str> {
    output.lines().find(|line| {
        let groups: Vec<_> = line.split('-').collect();
        let letter = |byte: u8| b"cbdefghijklnrtuv".contains(&byte);
        groups.len() == 8
            && groups
                .iter()
                .all(|group| group.len() == 8 && group.bytes().all(letter))
    })
}

/// Before the commands: what comes after each of them.
const SCRIPT: &str = r#"
: >/run/typed
after() {
    cat /run/said
    printf '\n<%s %s>\n' "$1" "$2"
    letters='[cbdefghijklnrtuv]\{8\}'
    if grep -q -x "$letters\(-$letters\)\{7\}" /run/said; then
        cp /run/said /run/typed
    fi
}
"#;

/// Whether a line is as it is shown.
fn fits(shown: &str, seen: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else {
        return shown == seen;
    };
    let Some(seen) = seen.strip_prefix(start) else {
        return false;
    };
    let mut ends = seen.char_indices().map(|(at, _)| at).chain([seen.len()]);
    ends.any(|at| fits(rest, &seen[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "text\n```x\n# /p\nq\n```\n\
        <!-- replay: one -->\n```\n# a \\\n  b\nEnter it:\nout …, end\n# c\n```\n\
        <!-- replay: two -->\n```\n# d\n```\n";

    #[test]
    fn what_a_page_shows() {
        let parts = parse(PAGE);
        let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        let commands: Vec<_> = parts[0].steps.iter().map(|step| &step.command).collect();
        assert_eq!(commands, ["a \\\n  b", "c"]);
        parts[0].compare("out 5, end\n\n<0 1>\n\n<1 0>\n");
        assert_eq!(parse_files(PAGE), [("/p".into(), "# /p\nq\n".into())]);
    }

    #[test]
    #[should_panic(expected = "# c\n")]
    fn what_is_not_shown() {
        parse(PAGE)[0].compare("out , end\n\n<0 0>\nsomething\n\n<1 0>\n");
    }

    #[test]
    #[should_panic(expected = "# d\n")]
    fn a_silent_failure() {
        parse(PAGE)[1].compare("\n<0 2>\n");
    }

    #[test]
    fn lines_that_fit() {
        assert!(fits("a…b…", "axbxb") && fits("…", "") && fits("…é", "ééé"));
        assert!(!fits("a…b", "axbx") && !fits("a", "ab") && !fits("…b", ""));
    }
}
