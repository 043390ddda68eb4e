// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Askers who are not, or might not be, who they seem to be.
//!
//! Each is one shell script here that says what it does, what for it asks and
//! what it should get; they are tried on the live kernel and in guests. What they
//! are given, `prelude.sh` says; how they ask, `ask.sh`; and `asker.c` is a
//! program that asks as honest ones don't.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::live::{Answer, Rule, errno, errno_in};
use crate::oracle::{self, Request};
use crate::{golden, project};

/// An asker, and the user that runs it.
#[derive(Clone, Copy, Debug)]
pub struct Impostor {
    /// Its name, and that of its tests.
    pub name: &'static str,
    /// The user.
    pub uid: u32,
    script: &'static str,
}

/// Passes all that can be tried anywhere on to a macro, as `name uid,`.
#[macro_export]
macro_rules! impostors {
    ($take:ident) => {
        $take! {
            a_borrowed_path 1000,
            a_chroot 0,
            a_file_without_a_name 1000,
            a_forged_executable 1000,
            a_forged_executable_that_is_mapped 1000,
            a_library_that_is_preloaded 1000,
            a_link_is_not_a_name 1000,
            a_mount_namespace 0,
            a_path_that_others_can_take 0,
            a_script 1000,
            a_set_uid_program 0,
            an_executable_called_deleted 1000,
            an_executable_that_changes 1000,
            an_overlay 1000,
            another_user_namespace 1000,
            somebodys_puppet 1000,
            two_names_of_one_file 0,
        }
    };
}

/// Passes those that change what the whole machine shares on to a macro, as
/// `name uid,`: they are for guests only.
#[macro_export]
macro_rules! impostors_for_guests {
    ($take:ident) => {
        $take! {
            mounts 0,
            without_user_namespaces 0,
        }
    };
}

macro_rules! table {
    ($($name:ident $uid:literal,)*) => {
        &[$(Impostor {
            name: stringify!($name),
            uid: $uid,
            script: include_str!(concat!(stringify!($name), ".sh")),
        }),*]
    };
}

/// Those that can be tried anywhere.
pub const ANYWHERE: &[Impostor] = impostors!(table);

/// Those that are for guests only.
pub const IN_GUESTS: &[Impostor] = impostors_for_guests!(table);

impl Impostor {
    /// One of [`ANYWHERE`].
    pub fn named(name: &str) -> &'static Self {
        let found = ANYWHERE.iter().find(|impostor| impostor.name == name);
        found.expect("there is one of that name")
    }

    /// The whole script.
    pub fn script(&self) -> String {
        format!("{}\n{}", include_str!("prelude.sh"), self.script)
    }

    /// Has it ask the live kernel.
    pub fn try_here(&self) {
        let tpm = golden::tpm();
        let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
        let at = |name: &str| rule.directory().join(name);
        let copied = Command::new("cp")
            .arg("-r")
            .args([tools(), at("tools")])
            .output();
        succeeded(&copied.unwrap());
        fs::create_dir(at("own")).unwrap();
        std::os::unix::fs::chown(at("own"), Some(self.uid), Some(self.uid)).unwrap();
        fs::write(at("script"), self.script()).unwrap();
        let uid = self.uid.to_string();
        let output = Command::new("timeout")
            .args(["120", "setpriv", "--reuid", &uid, "--regid", &uid])
            .args(["--clear-groups", "sh"])
            .arg(at("script"))
            .env("victim", rule.copy_of_keyctl("victim"))
            .env("own", at("own"))
            .env("tools", at("tools"))
            .env("description", rule.description("x"))
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let answers = answers(&String::from_utf8(output.stdout).unwrap());
        check(&answers, &rule.key_id("x"), &tpm.tcti());
        rule.assert_nothing_left();
    }
}

/// What somebody asked for, and got.
#[derive(Clone, Debug)]
pub struct Told {
    what: String,
    kind: String,
    uid: u32,
    expected: String,
    answer: Answer,
}

/// All of what `ask` has written.
pub fn answers(output: &str) -> Vec<Told> {
    let told = |line: &str| {
        let [what, kind, uid, expected, answer] = line
            .splitn(5, '|')
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_else(|_| panic!("{line}"));
        let answer = match answer.split_once(' ') {
            Some(("key", key)) => Ok(hex::decode(key).unwrap()),
            _ => Err(errno_in(&answer).unwrap_or(answer)),
        };
        Told {
            what,
            kind,
            uid: uid.parse().unwrap(),
            expected,
            answer,
        }
    };
    output.lines().map(told).collect()
}

/// Fails unless all got what they should have, from the TPM at `tcti`.
pub fn check(answers: &[Told], key_id: &str, tcti: &str) {
    assert!(!answers.is_empty());
    let requests: Vec<_> = answers.iter().map(|told| told.request(key_id)).collect();
    let wanted: Vec<_> = requests.iter().flatten().cloned().collect();
    let mut keys = oracle::derive(tcti, &wanted).into_iter();
    for (told, request) in answers.iter().zip(requests) {
        let expected = match request {
            Some(_) => keys.next().expect("one for each"),
            None => errno(&told.expected),
        };
        assert_eq!(told.answer, expected, "{}: {told:?}", told.what);
    }
}

impl Told {
    /// The request whose key is expected, unless it is an errno.
    fn request(&self, key_id: &str) -> Option<Request> {
        let value = match self.expected.as_str() {
            "id" => Vec::new(),
            path if path.starts_with('/') => path.into(),
            other => hex::decode(other.strip_prefix("sum:")?).unwrap(),
        };
        let info = format!("32 {}", self.kind);
        Some(Request::user(key_id, &info, self.uid, value))
    }
}

/// A directory with the programs that the scripts use.
pub fn tools() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let source = project().join("tests/src/impostors");
        let tools = project().join("target/impostors");
        fs::create_dir_all(&tools).unwrap();
        let install = Command::new("install")
            .args([source.join("ask.sh"), tools.join("ask")])
            .output();
        succeeded(&install.unwrap());
        compile(&source, &tools.join("asker"), &["-static"]);
        compile(
            &source,
            &tools.join("asker.so"),
            &["-shared", "-fPIC", "-DLIBRARY"],
        );
        tools
    };
    MADE.get_or_init(make).clone()
}

fn compile(source: &Path, program: &Path, options: &[&str]) {
    // Two test programs may do so at once.
    let unfinished = program.with_extension(std::process::id().to_string());
    let output = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"])
        .args(options)
        .arg("-o")
        .arg(&unfinished)
        .arg(source.join("asker.c"))
        .output()
        .unwrap();
    succeeded(&output);
    fs::rename(unfinished, program).unwrap();
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}
