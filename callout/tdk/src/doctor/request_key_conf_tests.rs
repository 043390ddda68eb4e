// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What this module says, and what request-key itself says.

use std::fs;
use std::process::Command;

use super::*;

const OURS: &str = "create * tpm2:derived:* * /usr/sbin/key.tpm2_derived %k %t %d %c %u %g %S\n";

fn file(path: &str, content: &str) -> File {
    File {
        path: path.into(),
        content: content.into(),
    }
}

fn asked(key_type: &'static str, description: &str, callout_info: &str) -> Asked {
    Asked {
        key_type,
        description: description.into(),
        callout_info: callout_info.into(),
    }
}

/// The answer in short: a line's place, a fault's place and what it is, or
/// "none".
fn chosen(files: &[File], asked: &Asked) -> String {
    match choose(files, asked, |_| true) {
        Ok(Some(line)) => line.place.to_string(),
        Ok(None) => "none".into(),
        Err(fault) => format!("{} {}", fault.place, fault.what),
    }
}

#[test]
fn the_better_line_wins() {
    let user = asked("user", "tpm2:derived:disk", "32 path");
    for (others, expected) in [
        ("", "a:1"),
        // The type comes first, whatever the rest is.
        ("create user * * /x\n", "b:1"),
        ("create us* tpm2:derived:* * /x\n", "b:1"),
        ("create logon * * /x\n", "a:1"),
        ("create * tpm2:derived:disk * /x\n", "b:1"),
        // An asterisk in the middle does not do what it should.
        ("create * tpm2:derived:d*k * /x\n", "a:1"),
        ("create * tpm2:* * /x\n", "a:1"),
        ("create * * 32* /x\n", "a:1"),
        ("create * tpm2:derived:* *path /x\n", "b:1"),
        // Of equals the first.
        (OURS, "a:1"),
        ("*create * tpm2:derived:* * /x\n", "a:1"),
        ("negate user * * /x\n", "a:1"),
        (" create user * * /x\n", "a:1"),
        ("#create user * * /x\n\ncreate user * * /x\n", "b:3"),
        // A second asterisk is none.
        ("create user tpm2:*:* * /x\n", "a:1"),
        ("create\tuser\t*\t*\t/x\r\n", "b:1"),
    ] {
        let files = [file("a", OURS), file("b", others)];
        assert_eq!(chosen(&files, &user), expected, "{others}");
    }
    let stranger = asked("user", "debug:x", "32 path");
    assert_eq!(chosen(&[file("a", OURS)], &stranger), "none");
}

#[test]
fn lines_that_end_it_all() {
    let user = asked("user", "tpm2:derived:disk", "32 path");
    let long = format!("#{}\n", "x".repeat(4094));
    for (others, expected) in [
        ("create\n", "b:1 breaks off"),
        ("negate\n", "b:1 breaks off"),
        ("create user\n", "b:1 breaks off"),
        ("create user * \n", "b:1 breaks off"),
        ("create user * *\n", "b:1 breaks off"),
        ("create user * * \n", "b:1 names no program"),
        ("create logon *\n", "a:1"),
        ("create user debug:*\n", "b:1 breaks off"),
        ("create user debug:* \n", "a:1"),
        ("negate user\n", "a:1"),
        (&long, "b:1 is too long"),
        (&long[1..], "b:1 breaks off"),
        ("\0\n", "b:1 has a byte 0 in it"),
        // The last byte is lost.
        ("create user * * /x", "b:1"),
        ("create user * * x", "b:1 names no program"),
    ] {
        let files = [file("a", OURS), file("b", others)];
        assert_eq!(chosen(&files, &user), expected, "{others}");
    }
}

#[test]
fn what_a_line_runs() {
    let files = [file("a", "create user * *  |/x/y \t%k  %t\t\n")];
    let line = choose(&files, &ordinary("user"), |_| true)
        .unwrap()
        .unwrap();
    assert!(line.is_pipe());
    assert_eq!(line.program(), b"/x/y");
    assert_eq!(line.arguments(), [b"%k", b"%t"]);
    assert_eq!(line.pattern(), "create user * *");
    let files = [file("a", "create user * * | /x\n")];
    let line = choose(&files, &ordinary("user"), |_| true)
        .unwrap()
        .unwrap();
    assert_eq!(line.program(), b"");
    assert_eq!(line.arguments(), [b"/x"]);
}

#[test]
fn last_lines_without_newline() {
    let place = |content: &str| {
        let file = file("a", content);
        unfinished(&file).map(|place| place.to_string())
    };
    assert_eq!(place(OURS), None);
    assert_eq!(place(&OURS[..OURS.len() - 1]).as_deref(), Some("a:1"));
    assert_eq!(place(&format!("{OURS}# end")), None);
    assert_eq!(
        place(&format!("# begin\n\n{}", "create x")).as_deref(),
        Some("a:3")
    );
    assert_eq!(place(""), None);
}

/// Whether some probe meets the line that is in the way of ours.
#[test]
fn probes_find_every_line_that_catches_some_of_ours() {
    for line in [
        "create user * * /x",
        "create * tpm2:derived:disk * /x",
        "create * tpm2:derived:disk* * /x",
        "create * tpm2:derived:*disk * /x",
        "create u* tpm2:*k * /x",
        "create user *disk * /x",
        "create user t* * /x",
        "create user tpm2:derived:* * /x",
        "create * tpm2:derived:* 3* /x",
        "create * tpm2:derived:* 10* /x",
        "create * tpm2:derived:* rsa2048* /x",
        "create * tpm2:derived:* p* /x",
        "create * tpm2:derived:* *csum /x",
        "create * tpm2:derived:* *gen=77 /x",
        "create * tpm2:derived:* *7 /x",
        "create * tpm2:derived:* *v=1 /x",
        "create * tpm2:derived:* 2*h /x",
        "create logon",
        "create logon tpm2:derived:disk",
        "create",
    ] {
        let files = [file("a", OURS), file("b", &format!("{line}\n"))];
        let met = probes(&files, &["user", "logon"])
            .iter()
            .any(|asked| chosen(&files, asked).starts_with("b:1"));
        assert!(met, "{line}");
    }
    for line in [
        "create user debug:* * /x",
        "create user tpm2:derived: * /x",
        "create user tpm2:derivedx* * /x",
        "create dns_resolver * * /x",
        "create * * * /x",
        "create user tpm2:derived:* negate /x",
        "create user tpm2:derived:* x* /x",
        "create user tpm2:derived:* 0* /x",
        "create user tpm2:derived:* *word /x",
        "negate * * * /x",
    ] {
        let files = [file("a", OURS), file("b", &format!("{line}\n"))];
        for asked in probes(&files, &["user", "logon"]) {
            assert_eq!(chosen(&files, &asked), "a:1", "{line}: {asked:?}");
        }
    }
}

/// What `/sbin/request-key` itself would do, as [`chosen`] tells it.
fn really_chosen(directory: &Path, asked: &Asked) -> String {
    let description = String::from_utf8(asked.description.clone()).unwrap();
    let output = Command::new("/sbin/request-key")
        .current_dir(directory)
        .args(["-d", "-l", "-n", "-v", "-D"])
        .arg(format!("{};0;0;1f0000;{description}", asked.key_type))
        .args(["create", "1", "0", "0", "0", "0", "0"])
        .arg(String::from_utf8(asked.callout_info.clone()).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let place = |line: &str| line.split(": ").next().unwrap().to_owned();
    let line_with = |text: &str| said.lines().rfind(|line| line.contains(text)).map(place);
    if let Some(place) = line_with(": Syntax error") {
        return format!("{place} fault");
    }
    if output.status.success() {
        return line_with(": Prefer command").expect("the command that it prefers");
    }
    assert!(said.contains("No matching action"), "{said}");
    "none".into()
}

/// A choice of these, by a small generator (Marsaglia's xorshift64).
struct Dice(u64);

impl Dice {
    fn of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        choices[usize::try_from(self.0 % choices.len() as u64).unwrap()]
    }
}

#[test]
fn as_request_key_itself_chooses() {
    if !Path::new("/sbin/request-key").exists() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no request-key");
        eprintln!("\nnot run: comparing with request-key, which is not installed");
        return;
    }
    let mut dice = Dice(0x7D0C_7042);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let mut content = String::new();
        for _ in 0..6 {
            for column in [
                &["create", "create", "create", "creat*", "*", "negate", "#"][..],
                &["user", "us*", "*er", "*", "*", "logon"],
                &[
                    "*",
                    "*x",
                    "tpm2:*",
                    "tpm2:derived:*",
                    "tpm2:d*:x",
                    "*:*",
                    "tpm2:derived:x",
                ],
                &["*", "*", "32*", "*path", "*t*", "3*h"],
                &["/bin/a", "/bin/b x", "|/bin/c", "/bin/d\t%% "],
            ] {
                content += dice.of(&["", "", "", "", "", "", "", "", "", " "]);
                content += dice.of(column);
                let cut = [
                    dice.of(&["", " ", " ", " "]),
                    dice.of(&["", " ", " ", " ", " "]),
                ];
                if cut == ["", ""] {
                    break;
                }
                content += " ";
            }
            content += dice.of(&["\n", "\n", "\n", "\n", "\n", "\n", " \n", "\r\n", "\n\n"]);
        }
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("request-key.conf"), &content).unwrap();
        let files = [file("request-key.conf", &content)];
        for asked in [
            ordinary("user"),
            asked("logon", "tpm2:derived:x", "32 path"),
        ] {
            let mut ours = chosen(&files, &asked);
            if let Some((place, _)) = ours.split_once(' ') {
                ours = format!("{place} fault");
            }
            assert_eq!(ours, really_chosen(directory.path(), &asked), "{content}");
            let kind = ours.split_once(' ').map_or(ours.as_str(), |(_, kind)| kind);
            *seen.entry(kind.to_owned()).or_insert(0) += 1;
        }
    }
    // Some of each.
    for kind in ["fault", "none", "request-key.conf:1", "request-key.conf:6"] {
        assert!(seen.get(kind).is_some_and(|count| *count > 10), "{seen:?}");
    }
}
