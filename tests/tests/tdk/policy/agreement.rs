// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random policies judge random requests: once as the callout has them judged, which
//! keeps of the files only what may be about the request; once as `tdk policy
//! explain`, which keeps it all; and once here, in a few lines that look at everything
//! and know no shortcut.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tdk_tests::random::Random;
use tpm_derived_keys::identity::{Identified, Kind, Realm, Subject};
use tpm_derived_keys::policy::{Action, Doubt, Doubts, Facts, Field, Found, Policy, Source};
use tpm_derived_keys::request::Request;

/// A rule as it is written.
struct Rule {
    action: Action,
    conditions: Vec<(Field, Vec<String>)>,
    minimum_generation: u32,
    scope_any: bool,
    tolerate: Vec<Doubt>,
}

struct Case {
    default: Action,
    rules: Vec<Rule>,
    /// How many of the rules are in the first file.
    first: usize,
    facts: HashMap<&'static str, Found>,
    doubts: Vec<Doubt>,
    identified: Identified,
    kind: Kind,
    generation: u32,
    scope_any: bool,
}

/// What decides, counted from 0; nothing for the default. And whether it allows.
type Verdict = (Option<usize>, bool);

/// The file behind `policy.toml`.
const MORE: &str = "policy.d/more.toml";

const WORDS: [&str; 4] = ["a", "b", "ab", "ba"];
const PATTERNS: [&str; 6] = ["a", "b", "a*", "*b", "?", "*"];
const UNITS: [&str; 3] = ["a.service", "b.scope", "ab.service"];
const UNIT_PATTERNS: [&str; 4] = ["a.service", "*.scope", "?.service", "a*"];
const PATHS: [&str; 3] = ["/a", "/a/b", "/b"];
const PATH_PATTERNS: [&str; 5] = ["/a", "/*", "/**", "/a/*", "/?"];

fn one_of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len())]
}

fn digest(random: &mut Random) -> [u8; 32] {
    [u8::try_from(random.below(2)).unwrap(); 32]
}

/// Some of them, and often none.
fn doubts(random: &mut Random, none: usize) -> Vec<Doubt> {
    if random.below(4) < none {
        return Vec::new();
    }
    Doubt::ALL
        .into_iter()
        .filter(|_| random.below(2) == 0)
        .collect()
}

fn action(random: &mut Random) -> Action {
    one_of(random, &[Action::Allow, Action::Deny])
}

/// Something that a field can be.
fn value(random: &mut Random, field: Field) -> String {
    match field {
        Field::KeyType => one_of(random, &["user", "logon"]).into(),
        Field::What => one_of(random, &["16", "32", "p256"]).into(),
        Field::Identity => one_of(random, &["path", "csum", "id"]).into(),
        Field::Uid | Field::Gid => random.below(3).to_string(),
        Field::Exe => one_of(random, &PATHS).into(),
        Field::Unit => one_of(random, &UNITS).into(),
        Field::Sha256 => hex::encode(digest(random)),
        _ => one_of(random, &WORDS).into(),
    }
}

fn pattern(random: &mut Random, field: Field) -> String {
    match field {
        Field::Exe => one_of(random, &PATH_PATTERNS).into(),
        Field::Unit => one_of(random, &UNIT_PATTERNS).into(),
        Field::What if random.below(3) == 0 => "p*".into(),
        Field::KeyType
        | Field::What
        | Field::Identity
        | Field::Sha256
        | Field::Uid
        | Field::Gid => value(random, field),
        _ => one_of(random, &PATTERNS).into(),
    }
}

impl Rule {
    fn random(random: &mut Random) -> Self {
        let mut conditions = Vec::new();
        for _ in 0..random.below(4) {
            let field = one_of(random, &Field::ALL);
            if conditions.iter().any(|(other, _)| *other == field) {
                continue;
            }
            let patterns = (0..=random.below(2)).map(|_| pattern(random, field));
            conditions.push((field, patterns.collect()));
        }
        let action = action(random);
        let allows = action == Action::Allow;
        Self {
            action,
            conditions,
            minimum_generation: if allows {
                one_of(random, &[0, 0, 1])
            } else {
                0
            },
            scope_any: allows && random.below(3) == 0,
            tolerate: if allows {
                doubts(random, 1)
            } else {
                Vec::new()
            },
        }
    }

    fn write(&self, text: &mut String) {
        let action = word(self.action);
        writeln!(text, "[[rule]]\naction = \"{action}\"").unwrap();
        for (field, patterns) in &self.conditions {
            let quote = if matches!(field, Field::Uid | Field::Gid) {
                ""
            } else {
                "\""
            };
            let patterns: Vec<_> = patterns
                .iter()
                .map(|text| format!("{quote}{text}{quote}"))
                .collect();
            writeln!(text, "{field} = [{}]", patterns.join(", ")).unwrap();
        }
        if self.minimum_generation > 0 {
            writeln!(text, "minimum_generation = {}", self.minimum_generation).unwrap();
        }
        if self.scope_any {
            writeln!(text, "scope_any = true").unwrap();
        }
        if !self.tolerate.is_empty() {
            let names: Vec<_> = self.tolerate.iter().map(|d| format!("\"{d}\"")).collect();
            writeln!(text, "tolerate = [{}]", names.join(", ")).unwrap();
        }
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    }
}

impl Case {
    fn random(random: &mut Random) -> Self {
        let rules: Vec<_> = (0..random.below(7)).map(|_| Rule::random(random)).collect();
        let of_request = |random: &mut Random, field| value(random, field);
        let key_id = of_request(random, Field::KeyId);
        let key_type = of_request(random, Field::KeyType);
        let what = of_request(random, Field::What);
        let identity = of_request(random, Field::Identity);
        let uid = u32::try_from(random.below(3)).unwrap();
        let generation = u32::try_from(random.below(2)).unwrap();
        let scope_any = random.below(4) == 0;
        let scope = if scope_any { " scope=any" } else { "" };

        let description = format!("tpm2:derived:{key_id}");
        let info = format!("{what} {identity} gen={generation}{scope}");
        let request =
            Request::parse(key_type.as_bytes(), description.as_bytes(), info.as_bytes()).unwrap();
        let path = value(random, Field::Exe);
        let digest = digest(random);
        let subject = match identity.as_str() {
            "path" => Subject::path(path.as_bytes()).unwrap(),
            "csum" => Subject::Csum(digest),
            _ => Subject::Id,
        };
        let mut facts = HashMap::new();
        for field in Field::ALL {
            facts.insert(field.name(), found(random, field));
        }
        // What is known without being looked for.
        for (field, value) in [
            (Field::KeyId, key_id),
            (Field::KeyType, key_type),
            (Field::What, what),
            (Field::Identity, identity.clone()),
            (Field::Uid, uid.to_string()),
        ] {
            facts.insert(field.name(), Found::known(value));
        }
        match identity.as_str() {
            "path" => drop(facts.insert(Field::Exe.name(), Found::known(path))),
            "csum" => drop(facts.insert(Field::Sha256.name(), Found::known(hex::encode(digest)))),
            _ => {}
        }
        Self {
            default: action(random),
            first: random.below(rules.len() + 1),
            rules,
            facts,
            doubts: doubts(random, 2),
            kind: request.kind(),
            identified: request.identify(subject, uid, &Realm::default()).unwrap(),
            generation,
            scope_any,
        }
    }

    /// The policy, as two files.
    fn texts(&self) -> [String; 2] {
        let (first, more) = self.rules.split_at(self.first);
        let mut texts = [
            format!("default = \"{}\"\n", word(self.default)),
            String::new(),
        ];
        for (text, rules) in texts.iter_mut().zip([first, more]) {
            for rule in rules {
                rule.write(text);
            }
        }
        texts
    }

    /// Puts it where a policy is, in files that the general reader has to read if they
    /// are not to be plain.
    fn write(&self, etc: &Path, plain: bool) {
        for (name, mut text) in [Policy::FILE, MORE].into_iter().zip(self.texts()) {
            if !plain {
                text = text.replace("[[rule]]", "[[ rule ]]");
            }
            // Of a file that is shortened, ext4 waits until it is on the disk.
            let file = etc.join(name);
            let _ = fs::remove_file(&file);
            fs::write(file, text).unwrap();
        }
    }

    /// What the kernel passes on of the request.
    fn strings(&self) -> Facts {
        let value = |field: Field| &self.facts[field.name()].values[0];
        let description = [b"tpm2:derived:", &value(Field::KeyId)[..]].concat();
        Facts::of_strings(value(Field::KeyType), &description)
    }

    /// What the policy says, by docs/policy.md.
    fn verdict(&self) -> Verdict {
        let forgeable = [Field::Exe, Field::Package, Field::Sha256];
        let forges = [Doubt::Fuse, Doubt::Unmapped]
            .iter()
            .any(|doubt| self.doubts.contains(doubt));
        for (number, rule) in self.rules.iter().enumerate() {
            let met = rule.conditions.iter().map(|(field, patterns)| {
                let found = &self.facts[field.name()];
                let paths = matches!(field, Field::Exe | Field::Unit);
                let matches = |value: &Vec<u8>| {
                    patterns
                        .iter()
                        .any(|text| glob(text.as_bytes(), value, paths))
                };
                match found.values.iter().any(matches) {
                    true => Some(true),
                    false if found.unknown.is_some() => None,
                    // Forged, perhaps.
                    false if forgeable.contains(field) && forges => None,
                    false => Some(false),
                }
            });
            let met: Vec<_> = met.collect();
            let fails = met.contains(&Some(false));
            let unknown = met.contains(&None);
            match rule.action {
                Action::Deny if !fails => return (Some(number), false),
                Action::Allow if !fails && !unknown => {
                    let generation = self.generation >= rule.minimum_generation;
                    let scope = rule.scope_any || !self.scope_any;
                    let believed = self.is_believed(rule);
                    return (Some(number), generation && scope && believed);
                }
                _ => {}
            }
        }
        let nothing = Rule {
            action: self.default,
            conditions: Vec::new(),
            minimum_generation: 0,
            scope_any: false,
            tolerate: Vec::new(),
        };
        let allows = self.default == Action::Allow && !self.scope_any;
        (None, allows && self.is_believed(&nothing))
    }

    /// Whether a rule tolerates every doubt that is about what it, or the request,
    /// asks to know.
    fn is_believed(&self, rule: &Rule) -> bool {
        let kind = self.kind.word();
        let asks = |fields: &[Field]| {
            let mut conditions = rule.conditions.iter();
            conditions.any(|(field, _)| fields.contains(field))
        };
        self.doubts.iter().all(|doubt| {
            let matters = match doubt {
                Doubt::Traced | Doubt::UserNamespace => true,
                Doubt::WritablePath => kind == "path" || asks(&[Field::Exe]),
                Doubt::SetUid | Doubt::Fuse | Doubt::Unmapped => {
                    ["path", "csum", "verity"].contains(&kind)
                        || asks(&[Field::Exe, Field::Package, Field::Sha256])
                }
            };
            !matters || rule.tolerate.contains(doubt)
        })
    }
}

fn found(random: &mut Random, field: Field) -> Found {
    let values = (0..random.below(3)).map(|_| value(random, field).into_bytes());
    let mut found = Found::all(values.collect());
    found.unknown = (random.below(4) == 0).then(|| "chance".into());
    found
}

fn glob(pattern: &[u8], text: &[u8], paths: bool) -> bool {
    let any = |byte: &u8| !(paths && *byte == b'/');
    match (pattern, text) {
        ([], text) => text.is_empty(),
        ([b'*', b'*', rest @ ..], _) => (0..=text.len()).any(|n| glob(rest, &text[n..], paths)),
        ([b'*', rest @ ..], _) => {
            let run = text.iter().take_while(|byte| any(byte)).count();
            (0..=run).any(|n| glob(rest, &text[n..], paths))
        }
        ([b'?', rest @ ..], [byte, text @ ..]) => any(byte) && glob(rest, text, paths),
        ([wanted, rest @ ..], [byte, text @ ..]) => wanted == byte && glob(rest, text, paths),
        _ => false,
    }
}

/// Whoever looks at the asker.
struct Looks<'a>(&'a Case);

impl Source for Looks<'_> {
    fn find(&mut self, field: Field) -> Found {
        self.0.facts[field.name()].clone()
    }

    fn doubts(&self) -> Doubts {
        let mut doubts = Doubts::default();
        for doubt in &self.0.doubts {
            doubts.add(*doubt, "it is seen");
        }
        doubts
    }
}

/// A directory for policies.
fn etc() -> tempfile::TempDir {
    let etc = tempfile::tempdir().unwrap();
    fs::create_dir(etc.path().join("policy.d")).unwrap();
    for directory in [etc.path(), &etc.path().join("policy.d")] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    etc
}

#[test]
fn everybody_judges_alike() {
    let mut random = Random::new(7);
    let mut seen: HashMap<(Option<Action>, bool), usize> = HashMap::new();
    let (mut ruled_out, mut left_out) = (0, 0);
    let etc = etc();
    for number in 0..20_000 {
        let case = Case::random(&mut random);
        case.write(etc.path(), number % 2 == 0);
        let (rule, allowed) = case.verdict();
        let say = || {
            let [first, more] = case.texts();
            format!(
                "{number}: {:?}\n{:?}\n{:?}\n{first}# {MORE}\n{more}",
                case.identified, case.facts, case.doubts
            )
        };

        let files = Policy::open(etc.path());
        let kept = files.and_then(|files| files.read_for(&case.strings()));
        let kept = kept.unwrap_or_else(|error| panic!("{error}: {}", say()));
        let callouts = kept.decide(case.identified.clone(), &mut Looks(&case));
        assert_eq!(callouts.is_ok(), allowed, "{}", say());

        let policy = Policy::load(etc.path());
        let policy = policy.unwrap_or_else(|error| panic!("{error}: {}", say()));
        let (judgement, facts) = policy.judge_by(&case.identified, &mut Looks(&case));
        let explained = policy.explain(&judgement, &facts);
        assert_eq!(explained.allowed, allowed, "{}", say());
        assert_eq!(
            explained.passed_over.len(),
            rule.unwrap_or(case.rules.len()),
            "{}",
            say()
        );
        // What is ruled out before, no rule would have allowed.
        let kind = case.kind;
        let doubts = Looks(&case).doubts();
        let is_ruled_out = policy.rule_out(kind, &doubts);
        assert_eq!(kept.rule_out(kind, &doubts), is_ruled_out, "{}", say());
        if is_ruled_out.is_err() {
            assert!(!allowed, "{}", say());
            ruled_out += 1;
        }
        match (callouts, judgement.verdict()) {
            (Ok(decision), Ok(grant)) => {
                assert_eq!(decision.grant(), grant, "{}", say());
                let by = format!("allowed by {}", decision.by());
                assert_eq!(explained.decision, by, "{}", say());
            }
            (Err(refusal), Err(same)) => {
                assert_eq!(refusal, *same, "{}", say());
                let why = format!("refused: {refusal}");
                assert_eq!(explained.decision, why, "{}", say());
            }
            _ => panic!("{}", say()),
        }
        // With little kept, the same reasons are there.
        let (judgement, facts) = kept.judge_by(&case.identified, &mut Looks(&case));
        let reasons = kept.explain(&judgement, &facts);
        if rule.is_some() {
            assert_eq!(reasons.because, explained.because, "{}", say());
        }
        assert_eq!(reasons.given, explained.given, "{}", say());
        left_out += explained.passed_over.len() - reasons.passed_over.len();

        let action = rule.map(|number| case.rules[number].action);
        *seen.entry((action, allowed)).or_default() += 1;
    }
    // Each way to an answer has been gone often.
    for way in [
        (None, true),
        (None, false),
        (Some(Action::Allow), true),
        (Some(Action::Allow), false),
        (Some(Action::Deny), false),
    ] {
        assert!(seen[&way] > 500, "{seen:?}");
    }
    assert!(ruled_out > 500, "{ruled_out}");
    // And many rules were not kept.
    assert!(left_out > 500, "{left_out}");
}
