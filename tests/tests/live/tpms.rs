// SPDX-License-Identifier: Apache-2.0 OR MIT
//! No TPM, or one that does not do as it should: each has its errno.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tdk_simulator::Swtpm;
use tdk_tests::assert_no_handles;
use tdk_tests::backend::Backend;
use tdk_tests::golden;
use tdk_tests::live::{Answer, Rule, errno};
use tdk_tests::middle::{Action, Middle, cc};
use tdk_tests::owner;
use tpm_derived_keys::request::Request;
use tpm_derived_keys::{IdentityKey, KeyInfo};
use zeroize::Zeroizing;

fn ask(tcti: &str) -> Answer {
    let rule = Rule::direct(&format!("tcti = \"{tcti}\"\ndeadline_seconds = 1\n"));
    let answer = rule.ask("x", "32 path");
    rule.assert_nothing_left();
    answer
}

#[test]
fn no_tpm() {
    assert_eq!(ask("swtpm:path=/nonexistent/sock"), errno("ENODEV"));
    assert_eq!(ask("swtpm:host=127.0.0.1,port=1"), errno("ENODEV"));
    assert_eq!(ask("device:/dev/nonexistent"), errno("ENODEV"));
    let pipe = Rule::pipe("tcti = \"device:/dev/nonexistent\"\n");
    assert_eq!(pipe.ask("x", "32 path"), errno("ENODEV"));
}

#[test]
fn a_tpm_that_only_libtss2_reaches() {
    let tcti = "pcap:device:/dev/nonexistent";
    for tcti in ["tabrmd", "mssim:port=1", "cmd:exit 1", tcti] {
        assert_eq!(ask(tcti), errno("EKEYREJECTED"), "{tcti}");
    }
}

#[test]
fn a_tpm_that_never_answers() {
    let middle = Middle::alone(Action::Silence);
    let start = Instant::now();
    assert_eq!(ask(&middle.tcti()), errno("EAGAIN"));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_listener_hears_no_key() {
    let tpm = golden::tpm();
    for (bus, is_heard) in [("encrypted", false), ("plain", true)] {
        let middle = Middle::before(&tpm, |_, _| Action::Pass);
        let config = format!("tcti = \"{}\"\nbus = \"{bus}\"\n", middle.tcti());
        let rule = Rule::direct(&config);
        let key = rule.ask("x", "32 id").unwrap();
        let recorded = middle.recorded();
        let hears = |what: &[u8]| recorded.windows(what.len()).any(|window| window == what);
        let info = KeyInfo::from(
            &Request::parse(b"user", rule.description("x").as_encoded_bytes(), b"32 id").unwrap(),
        );
        // The identity key is not known here, but every 32 bytes that went by can be
        // tried in its place.
        let is_identity_key = |bytes: &[u8]| {
            let bytes = Zeroizing::new(<[u8; 32]>::try_from(bytes).unwrap());
            IdentityKey::new(bytes).expand(&info).as_bytes() == key
        };
        assert!(!hears(&key));
        assert_eq!(recorded.windows(32).any(is_identity_key), is_heard, "{bus}");
        assert_no_handles(&tpm);
    }
}

#[test]
fn a_tpm_that_is_not_the_enrolled_one() {
    let tpm = golden::tpm();
    let middle = Middle::before(&tpm, |_, _| Action::Pass);
    let other = format!("000b{}", "11".repeat(32));
    for known in [
        format!("root_name = \"{other}\"\n"),
        format!("srk_name = \"{other}\"\n"),
        format!("bus = \"plain\"\nroot_name = \"{other}\"\n"),
    ] {
        let rule = Rule::direct(&format!("tcti = \"{}\"\n{known}", middle.tcti()));
        assert_eq!(rule.ask("x", "32 id"), errno("EKEYREVOKED"), "{known}");
        assert!(!middle.seen().contains(&cc::HMAC), "{known}");
        assert_no_handles(&tpm);
    }
    let root = golden::root();
    let known = format!("tcti = \"{}\"\nroot_name = \"{root}\"\n", middle.tcti());
    Rule::direct(&known).ask("x", "32 id").unwrap();
    // What can't be understood is not passed by.
    let file = Rule::direct("");
    let path = file.directory().join("root.json");
    fs::write(&path, "{").unwrap();
    let faulty = format!(
        "tcti = \"{}\"\nenrolment = \"{}\"\n",
        middle.tcti(),
        path.display()
    );
    assert_eq!(
        Rule::direct(&faulty).ask("x", "32 id"),
        errno("EKEYREJECTED")
    );
}

#[test]
fn a_tpm_that_closes_in_the_middle() {
    let tpm = golden::tpm();
    // Each of a request's commands but the last two, which are sent when the key is
    // there.
    for place in 0..Backend::Direct.commands().len() - 2 {
        let middle = Middle::before(&tpm, move |_, before| {
            if before == place {
                Action::CloseAfter
            } else {
                Action::Pass
            }
        });
        assert_eq!(ask(&middle.tcti()), errno("EAGAIN"));
        assert_no_handles(&tpm);
    }
}

#[test]
fn a_tpm_that_is_locked_out() {
    let middle = Middle::alone(Action::Answer(0x921));
    assert_eq!(ask(&middle.tcti()), errno("EAGAIN"));
}

#[test]
fn a_tpm_that_is_broken() {
    let middle = Middle::alone(Action::Answer(0x101));
    assert_eq!(ask(&middle.tcti()), errno("EKEYREJECTED"));
    let middle = Middle::alone(Action::Raw(b"HTTP/1.1 400 Bad Request".to_vec()));
    assert_eq!(ask(&middle.tcti()), errno("EKEYREJECTED"));
}

#[test]
fn an_owner_who_has_a_password() {
    let tpm = Swtpm::builder().start().unwrap();
    tpm.set_owner_auth(b"secret").unwrap();
    assert_eq!(ask(&tpm.tcti()), errno("EACCES"));
}

#[test]
fn an_owner_whose_password_the_callout_knows() {
    let tpm = golden::tpm();
    let right = b"correct horse battery staple";
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let before = rule.ask("x", "32 id").unwrap();
    tpm.set_owner_auth(right).unwrap();

    let file = rule.directory().join("owner-auth");
    let password = |text: &[u8], mode: u32| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    };
    for bus in ["encrypted", "plain"] {
        let middle = Middle::before(&tpm, |_, _| Action::Pass);
        let config = |more: &str| {
            let tcti = middle.tcti();
            rule.configure(&format!("tcti = \"{tcti}\"\nbus = \"{bus}\"\n{more}"));
        };
        config("");
        assert_eq!(rule.ask("none", "32 id"), errno("EACCES"));

        config(&format!("owner_auth = \"{}\"\n", file.display()));
        password(right, 0o644);
        let before_file = middle.seen();
        assert_eq!(
            rule.ask("others can read it", "32 id"),
            errno("EKEYREJECTED")
        );
        assert_eq!(middle.seen(), before_file);
        password(right, 0o600);
        assert_eq!(rule.ask("x", "32 id").unwrap(), before);
        let recorded = middle.recorded();
        assert!(!recorded.windows(right.len()).any(|window| window == right));

        // It is tried once, until the file is another.
        password(b"wrong", 0o600);
        let before_wrong = middle.seen().len();
        assert_eq!(rule.ask("wrong", "32 id"), errno("EACCES"));
        let after_wrong = middle.seen();
        assert!(after_wrong.len() > before_wrong);
        assert_eq!(rule.ask("wrong again", "32 id"), errno("EACCES"));
        assert_eq!(middle.seen(), after_wrong);
        password(right, 0o600);
        rule.ask("right again", "32 id").unwrap();
        assert_no_handles(&tpm);
    }
}

#[test]
fn an_owner_whose_policy_the_callout_knows() {
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let before = rule.ask("x", "32 id").unwrap();
    owner::close_by_policy(&tpm);
    assert_eq!(rule.ask("not named", "32 id"), errno("EACCES"));
    for bus in ["encrypted", "plain"] {
        let config = |pcrs: &str| {
            let tcti = tpm.tcti();
            rule.configure(&format!(
                "tcti = \"{tcti}\"\nbus = \"{bus}\"\nowner_policy = \"{pcrs}\"\n"
            ));
        };
        config(owner::PCRS);
        assert_eq!(rule.ask("x", "32 id").unwrap(), before);
        config("sha256:0,7");
        assert_eq!(rule.ask("another", "32 id"), errno("EACCES"));
        config("sha256:77");
        assert_eq!(rule.ask("none", "32 id"), errno("EKEYREJECTED"));
    }
    assert_no_handles(&tpm);
}

#[test]
fn an_owner_hierarchy_that_is_off() {
    let tpm = Swtpm::builder().start().unwrap();
    tpm.disable_owner_hierarchy().unwrap();
    assert_eq!(ask(&tpm.tcti()), errno("ENODEV"));
}

#[test]
fn what_passes_is_asked_again_soon() {
    // The negative key lives 5 seconds when the TPM was away, 30 after a
    // refusal; expired, the same request is served.
    let tpm = golden::tpm();
    let away = Rule::direct("tcti = \"device:/dev/nonexistent\"\n");
    let refused = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    // What is left of it is seen a little later.
    let assert_lifetime = |rule: &Rule, info: &str, seconds: u64| {
        let start = Instant::now();
        let asker = tdk_tests::live::Asker::default();
        let script = r#""$@" @s; grep -F "$4" /proc/keys; true"#;
        let output = asker
            .command(script, &rule.description("x"), info.as_ref())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text
            .lines()
            .find(|line| line.contains('N'))
            .unwrap()
            .to_owned();
        let left = line.split_ascii_whitespace().nth(3).unwrap();
        let left: u64 = left.strip_suffix('s').unwrap().parse().unwrap();
        let passed = start.elapsed().as_secs() + 1;
        assert!(left <= seconds && left + passed >= seconds, "{line}");
    };
    assert_lifetime(&away, "32 path", 5);
    assert_lifetime(&refused, "32 id scope=any", 30);

    let script = r#"
        "$@" @s 2>/dev/null && exit 1
        mv "$RIGHT" "$CONFIG" && sleep 6
        key=$("$@" @s) && exec keyctl pipe $key"#;
    let right = away.directory().join("right.toml");
    fs::write(&right, format!("tcti = \"{}\"\n", tpm.tcti())).unwrap();
    let output = tdk_tests::live::Asker::default()
        .command(script, &away.description("again"), "32 path".as_ref())
        .env("RIGHT", right)
        .env("CONFIG", away.config_file())
        .output()
        .unwrap();
    assert_eq!(output.stdout.len(), 32, "{output:?}");
}
