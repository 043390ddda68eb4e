// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program around a request: whatever happens, the key is completed.

use std::io::Write;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tpm_derived_keys::Payload;
use tpm_derived_keys::config::{Config, LogLevel};
use tpm_derived_keys::policy::{Decision, Facts, Grant, Policy, PolicyFiles};
use tpm_derived_keys::request::PREFIX;
use tpm_derived_keys::tpm::{Name, Tcti, TpmError, Trust, make_lock_directory};

use crate::asker::{Asker, Checked};
use crate::failure::{Errno, Failure};
use crate::invocation::{Arguments, Form, Invocation, USAGE};
use crate::keyring::UnderConstruction;
use crate::log::Log;
use crate::record::{Field, Kind, Record};
use crate::sandbox::{Needs, Sandbox};
use crate::watch::Watch;

/// A request as the kernel passed it on to this program, and what is found out about it on the
/// way.
#[derive(Debug)]
pub struct Call<'a> {
    arguments: &'a Arguments,
    config: &'a Config,
    policy: &'a Policy,
    key: UnderConstruction,
    watch: Watch,
    sandbox: Sandbox,
    tcti: Tcti,
    trust: Trust,
    /// Who asks, until somebody wants to know.
    asker: Option<Result<Checked, Failure>>,
    /// For the log.
    shown: Option<(u32, (Vec<u8>, bool))>,
    /// What the policy has allowed, and which rule of it.
    allowed: Option<(Grant, String)>,
    commands: u32,
    /// A command is still running in the TPM.
    tpm_is_stuck: bool,
    root: Option<Name>,
    left_behind: Option<String>,
    /// Why the key's group is not root, where it is not.
    group: Result<(), String>,
}

impl Call<'_> {
    pub(crate) fn strings(&self) -> (&[u8], &[u8], &[u8]) {
        let arguments = self.arguments;
        (
            &arguments.key_type,
            &arguments.description,
            &arguments.callout_info,
        )
    }

    /// Who asks; to be taken once.
    pub(crate) fn asker(&mut self) -> Result<Checked, Failure> {
        self.asker.take().unwrap_or_else(|| {
            let what = "who asks has been asked before";
            Err(Failure::new(Errno::Failed, what, "please report it"))
        })
    }

    pub(crate) fn tcti(&self) -> &Tcti {
        &self.tcti
    }

    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }

    pub(crate) fn serial(&self) -> i32 {
        self.key.serial()
    }

    pub(crate) fn config(&self) -> &Config {
        self.config
    }

    pub(crate) fn policy(&self) -> &Policy {
        self.policy
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn note_decision(&mut self, decision: &Decision) {
        if decision.grant().permissions.is_none() {
            self.sandbox.drop_permissions();
        }
        self.allowed = Some((decision.grant(), decision.by().into()));
    }

    pub(crate) fn note_tpm(&mut self, commands: u32, is_stuck: bool) {
        self.commands = commands;
        self.tpm_is_stuck = is_stuck;
        self.sandbox.drop_tpm();
    }

    pub(crate) fn note_root(&mut self, name: Name) {
        self.root = Some(name);
    }

    pub(crate) fn note_left_behind(&mut self, error: &TpmError) {
        self.left_behind = Some(error.to_string());
    }

    /// The record for the log: all there is to know, but no payload. What others
    /// can make long stands at the end.
    fn record(&self, start: Instant, result: &Result<(), Failure>) -> Record {
        let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
        let mut record = match result {
            Ok(()) => Record::new(Kind::Granted, LogLevel::Info),
            Err(failure) => Record::new(failure.errno().kind(), failure.errno().level()),
        };
        record.add(Field::Key, self.serial());
        match result {
            Ok(()) => record.add(Field::Decision, "granted"),
            Err(failure) => record
                .add(Field::Decision, failure.errno().decision())
                .add(Field::Errno, failure.errno().name()),
        };
        let (key_type, description, callout_info) = self.strings();
        let uid = self.arguments.uid().map(|uid| uid.to_string().into_bytes());
        record
            .add(Field::Milliseconds, format_args!("{milliseconds:.1}"))
            .add(Field::TpmCommands, self.commands)
            .add_bytes(Field::Uid, uid.as_ref().unwrap_or(&self.arguments.uid))
            .add_bytes(Field::Type, key_type)
            .add_bytes(Field::Info, callout_info);
        if let Some((thread, _)) = &self.shown {
            record.add(Field::Thread, thread);
        }
        record.add(Field::Sandbox, self.sandbox.layers());
        let denied_by = result.as_ref().err().and_then(Failure::rule);
        let allowed_by = self.allowed.as_ref().map(|(_, by)| by.as_str());
        if let Some(by) = denied_by.or(allowed_by) {
            record.add_bytes(Field::Rule, by.as_bytes());
        }
        if let Err(failure) = result {
            record.add_bytes(Field::Cause, failure.to_string().as_bytes());
        } else if let Err(why) = &self.group {
            record.add_bytes(Field::Group, why.as_bytes());
        }
        let prefix = PREFIX.as_bytes();
        let key_id = description.strip_prefix(prefix).unwrap_or(description);
        record.add_bytes(Field::KeyId, key_id);
        if let Some((_, (executable, known))) = &self.shown {
            // A mount namespace can lend a file any name.
            let field = if *known {
                Field::Executable
            } else {
                Field::ClaimedExecutable
            };
            record.add_bytes(field, executable);
        }
        record
    }
}

/// The whole program: `serve` makes the payload, everything else is here.
///
/// It is a parameter so that tests can have one that fails in ways the real one
/// is not known to.
pub fn main_with(serve: impl FnOnce(&mut Call<'_>) -> Result<Payload, Failure>) -> ExitCode {
    tpm_derived_keys::no_core_dumps();
    let start = Instant::now();
    if std::env::args_os().len() <= 1 {
        // By hand; or by request-key in the pipe form, which runs a program
        // that wrote nothing a second time, without arguments (keyutils 1.6.3).
        // That request has been answered and has its line in the log.
        if UnderConstruction::of_this_session().is_none() {
            let _ = std::io::stderr().write_all(USAGE.as_bytes());
        }
        return ExitCode::from(2);
    }
    let log = Log::open();
    let arguments = match Invocation::parse(std::env::args_os()) {
        Ok(Invocation::Serve(arguments)) => arguments,
        Ok(Invocation::Version) => {
            return print(&format!("key.tpm2_derived {}\n", env!("CARGO_PKG_VERSION")));
        }
        Ok(Invocation::Help) => return print(USAGE),
        Err(failure) => return misused(&log, &failure),
    };
    let serial = match arguments.form {
        Form::Direct(serial) => Some(serial),
        Form::Pipe => UnderConstruction::of_this_session(),
    };
    let Some(serial) = serial else {
        return misused(
            &log,
            &Failure::new(
                Errno::Failed,
                "there is no key under construction",
                "this program is for /sbin/request-key to run",
            ),
        );
    };
    let key = match UnderConstruction::assume(serial) {
        Ok(key) => key,
        Err(failure) => return misused(&log, &failure),
    };
    complete(&log, key, &arguments, start, serve)
}

/// The configuration and the policy's files, or as much of them as there is with what is
/// wrong: then nobody gets a key.
fn load(named: Option<&Path>) -> (Config, PolicyFiles, Trust, Option<Failure>) {
    let (nothing, nobody) = (PolicyFiles::default, Trust::default);
    let config = match Config::load(named) {
        Ok(config) => config,
        Err(error) => return (Config::default(), nothing(), nobody(), Some(error.into())),
    };
    let trust = match config.trust() {
        Ok(trust) => trust,
        Err(error) => return (config, nothing(), nobody(), Some(error.into())),
    };
    match Policy::open(Config::directory(named)) {
        Ok(files) => (config, files, trust, None),
        Err(error) => (config, nothing(), trust, Some(error.into())),
    }
}

/// The policy, in the sandbox, which then need not let what no rule of it has a use for.
fn read_policy(
    files: PolicyFiles,
    arguments: &Arguments,
    sandbox: &mut Sandbox,
) -> Result<Policy, Failure> {
    let facts = Facts::of_strings(&arguments.key_type, &arguments.description);
    let policy = files.read_for(&facts)?;
    if !policy.sets_permissions() {
        sandbox.drop_permissions();
    }
    Ok(policy)
}

/// Completes the key one way or the other, and says so in the log.
fn complete(
    log: &Log,
    key: UnderConstruction,
    arguments: &Arguments,
    start: Instant,
    serve: impl FnOnce(&mut Call<'_>) -> Result<Payload, Failure>,
) -> ExitCode {
    let signals = Watch::signals();
    let (config, policy, trust, mut faulty) = load(arguments.config.as_deref());
    let threshold = config.log_level();
    let watch = Watch::default();
    let asker = Asker::of_key(key.serial(), &UnderConstruction::keys_of_this_session());
    let shown = asker.as_ref().ok();
    let shown = shown.map(|asker| (asker.thread(), asker.shown_executable()));
    let asker = arguments.uid().and_then(|uid| Ok(asker?.check(uid)?));
    // From here on nothing is opened that is not said here.
    let tcti = config.tcti();
    let mut sandbox = Sandbox::close(&Needs {
        tcti: &tcti,
        locks: make_lock_directory().ok(),
        permissions: !policy.is_empty(),
        key: key.serial(),
    });
    let policy = read_policy(policy, arguments, &mut sandbox).unwrap_or_else(|failure| {
        faulty = Some(failure);
        Policy::shipped()
    });
    // It has no secrets, and its asker would wait for it to be freed.
    let policy = ManuallyDrop::new(policy);
    let mut call = Call {
        arguments,
        config: &config,
        policy: &policy,
        key,
        watch: watch.clone(),
        sandbox,
        tcti,
        trust,
        asker: Some(asker),
        shown,
        allowed: None,
        commands: 0,
        tpm_is_stuck: false,
        root: None,
        left_behind: None,
        group: Ok(()),
    };

    let cut_short = Err(Failure::new(Errno::Later, "ended by a signal", "ask again"));
    let record = call.record(start, &cut_short);
    let its_log = log.clone();
    let watching = signals.and_then(|signals| {
        watch.start(signals, move || {
            let _ = key.reject(Errno::Later);
            its_log.write(threshold, &record);
        })
    });

    let result = match (faulty, watching) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(Failure::new(Errno::Failed, error, "")),
        (None, Ok(())) => guarded(|| serve(&mut call)),
    };
    if !watch.settle() {
        // A signal came first; the other thread answers and ends the program.
        loop {
            std::thread::park();
        }
    }
    let result = result.and_then(|payload| {
        call.group = key.give_to_group_root();
        if let Some((grant, _)) = &call.allowed {
            key.limit(grant)?;
        }
        call.sandbox.drop_permissions();
        deliver(arguments.form, key, &payload)
    });
    if let Err(failure) = &result
        && let Err(error) = key.reject(failure.errno())
    {
        let mut record = Record::new(Kind::Unanswered, LogLevel::Error);
        record.add(Field::Key, key.serial());
        record.say("can't be rejected");
        record.add_bytes(Field::Cause, error.to_string().as_bytes());
        log.write(threshold, &record);
    }
    log.write(threshold, &call.record(start, &result));
    if let Some(root) = call.root {
        let mut record = Record::new(Kind::Root, LogLevel::Debug);
        record
            .add(Field::Key, key.serial())
            .add_bytes(Field::Tcti, call.tcti.to_string().as_bytes())
            .add(Field::Root, root);
        log.write(threshold, &record);
    }
    if let Some(error) = call.left_behind {
        let mut record = Record::new(Kind::LeftBehind, LogLevel::Warning);
        record.add(Field::Key, key.serial());
        record.say("root key left in the TPM");
        record.add_bytes(Field::Cause, error.as_bytes());
        log.write(threshold, &record);
    }
    if let (Form::Pipe, Err(failure)) = (arguments.form, &result) {
        // request-key(8) passes it on to the log.
        complain(failure);
    }
    if call.tpm_is_stuck {
        tdk_sys::leave_files_to_a_child();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Hands the payload over: to the kernel, or to request-key by standard output.
fn deliver(form: Form, key: UnderConstruction, payload: &Payload) -> Result<(), Failure> {
    match form {
        Form::Direct(_) => key.instantiate(payload),
        Form::Pipe => {
            // From here on it is request-key's to complete.
            tdk_sys::reject_on_fault(0);
            // Unbuffered, so that no copy is left behind.
            rustix::io::retry_on_intr(|| rustix::io::write(std::io::stdout(), payload.as_bytes()))
                .map_err(|error| Failure::new(Errno::Failed, error, ""))
                .and_then(|written| {
                    if written == payload.as_bytes().len() {
                        Ok(())
                    } else {
                        Err(Failure::new(Errno::Failed, "standard output is full", ""))
                    }
                })
        }
    }
}

/// Turns a panic into a failure. Only its place is told: what it says could
/// contain anything.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    static PLACE: Mutex<String> = Mutex::new(String::new());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place.unwrap_or_default();
    }));
    let result = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    result.unwrap_or_else(|_| {
        let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let message = format!("internal error at {place}");
        Err(Failure::new(Errno::Failed, message, "please report it"))
    })
}

/// Called by hand, or by a line that is wrong, and then there may be somebody who
/// waits for a key.
fn misused(log: &Log, failure: &Failure) -> ExitCode {
    let waiting = UnderConstruction::of_this_session().map(UnderConstruction::assume);
    if let Some(Ok(key)) = waiting {
        let _ = key.reject(failure.errno());
    }
    let mut record = Record::new(Kind::Misused, LogLevel::Error);
    record.say(failure);
    log.write(LogLevel::Info, &record);
    complain(failure);
    ExitCode::from(2)
}

/// To standard error, which may well be closed.
fn complain(failure: &Failure) {
    let _ = writeln!(std::io::stderr(), "key.tpm2_derived: {failure}");
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_without_details() {
        let failure = guarded(|| -> Result<(), Failure> { panic!("secret") }).unwrap_err();
        assert_eq!(failure.errno(), Errno::Failed);
        assert!(!failure.to_string().contains("secret"));
    }
}
