// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A whole Debian, with systemd as its first process: services, upgrades, and
//! what is there after a reboot.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tdk_simulator::guest::{Guest, GuestError, System};
use tdk_tests::guest::{KEYCTL, Script, debian};
use tdk_tests::live::errno;
use tdk_tests::oracle::{self, Request};
use tdk_tests::{golden, programs};

/// The value of the output's one line that is called so.
fn value<'a>(output: &'a str, name: &str) -> &'a str {
    let mut found = output
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = found.next().expect(name);
    assert_eq!(found.next(), None, "{name}");
    value
}

/// What this system is, and a unit whose user exists only while it runs.
const SYSTEM: &str = r#"
echo "init $(cat /proc/1/comm)"
echo "cgroup $(stat -f -c %T /sys/fs/cgroup) $(cat /proc/self/cgroup)"
echo "system $(systemctl is-system-running)"

cat >/etc/systemd/system/asks.service <<'END'
[Service]
Type=oneshot
DynamicUser=yes
ExecStart=/bin/sh -c 'id -u; id -un; keyctl pipe $(keyctl request2 user tpm2:derived:a "32 path" @s)'
StandardOutput=truncate:/run/asks
END
systemctl daemon-reload
systemctl start asks.service
{ read -r uid; read -r name; echo "uid $uid"; echo "name $name"; } </run/asks
echo "key $(tail -n +3 /run/asks | hexdump -v -e '/1 "%02x"')"
"#;

/// A package with a program that asks for what it reads.
const PACKAGES: &str = r#"
package() {
    mkdir -p /root/asker/DEBIAN /root/asker/usr/bin
    printf '%s\n' 'Package: asker' "Version: $1" 'Architecture: all' \
        'Maintainer: nobody <nobody@localhost>' 'Description: asks' >/root/asker/DEBIAN/control
    { cat /usr/bin/keyctl && printf %s "$1"; } >/root/asker/usr/bin/asker
    chmod 755 /root/asker/usr/bin/asker
    sum=$(sha256sum /root/asker/usr/bin/asker)
    echo "sum$1 ${sum%% *}"
    dpkg-deb -Znone --build /root/asker "/root/asker_$1.deb"
}
package 1
package 2
# Has the program ask when its input is there: /run/input is a pipe.
cat >/root/later <<'END'
key=$(asker prequest2 user tpm2:derived:a @s </run/input) && exec keyctl pipe $key
END
mkfifo /run/input
dpkg -i /root/asker_1.deb
"#;

const UPGRADE: &str = r"
ask sh /root/later >/root/answer &
exec 9>/run/input
until pidof asker; do sleep 0.1; done
dpkg -i /root/asker_2.deb
printf '32 path' >&9
exec 9>&-
wait
cat /root/answer
";

#[test]
fn services_and_an_upgrade() {
    let Some(machine) = debian() else { return };
    let asker = |info: &str, value: &[u8]| Request::user("a", info, 0, value);
    let path = asker("32 path", b"/usr/bin/asker");
    let csum = asker("32 csum", b"");
    let mut script = Script::default();
    script
        .lines(SYSTEM, 1)
        .ask(KEYCTL, &Request::user("a", "32 path", 1000, KEYCTL))
        .lines(PACKAGES, 0)
        .ask("/usr/bin/asker", &path)
        .ask("/usr/bin/asker", &csum)
        .lines(UPGRADE, 1)
        .ask("/usr/bin/asker", &path)
        .ask("/usr/bin/asker", &csum);
    let (answers, run) = script.run(machine.guest().state(golden::state()));
    let output = String::from_utf8(run.stdout).unwrap();

    assert_eq!(value(&output, "init"), "systemd");
    assert_eq!(
        value(&output, "cgroup"),
        "cgroup2fs 0::/system.slice/tdk-script.service"
    );
    assert_eq!(value(&output, "system"), "running");
    assert_eq!(value(&output, "name"), "asks");
    let uid = value(&output, "uid").parse().unwrap();
    // systemd's range for such users.
    assert!((61184..=65519).contains(&uid), "{uid}");

    let sum = |version| hex::decode(value(&output, version)).unwrap();
    let expected = oracle::derive(
        &golden::tpm().tcti(),
        &[
            Request::user("a", "32 path", uid, KEYCTL),
            Request::user("a", "32 path", 1000, KEYCTL),
            path,
            asker("32 csum", &sum("sum1")),
            asker("32 csum", &sum("sum2")),
        ],
    );
    let [service, user, path, first, second] = <[_; 5]>::try_from(expected).unwrap();
    assert_ne!(first, second);
    // Who runs what has been replaced has to be restarted.
    let refused = errno("EACCES");
    assert_eq!(
        answers,
        [service, user, path.clone(), first, refused, path, second]
    );
}

/// Who may have what, by the units that systemd puts processes in.
const POLICY: &str = r#"
default = "deny"

[[rule]]
name = "the counters, whoever they run as"
action = "allow"
key_id = "counter"
unit = ["counter.service", "next.service"]
identity = "cgroup"
scope_any = true

[[rule]]
name = "plain, as its user"
action = "allow"
unit = "plain.service"
"#;

/// A unit that asks when it is started and writes what it got.
fn unit(name: &str, settings: &str, info: &str) -> (String, String) {
    let text = format!(
        "[Service]\nType=oneshot\n{settings}\nEnvironment=LC_ALL=C\n\
         ExecStart=/bin/sh -c 'id -u; keyctl pipe $(keyctl request2 user tpm2:derived:counter \
         \"{info}\" @s)'\n\
         StandardOutput=truncate:/run/{name}\nStandardError=inherit\n"
    );
    (format!("/etc/systemd/system/{name}.service"), text)
}

const UNITS: &str = r#"
# start NAME AS: what the unit got, and the uid that it had.
start() {
    systemctl start "$1" 2>/dev/null || true
    echo "uid-$2 $(head -n 1 "/run/$1")"
    if grep -q request_key: "/run/$1"; then
        echo "error $(grep request_key: "/run/$1")"
    else
        echo "key $(tail -n +2 "/run/$1" | hexdump -v -e '/1 "%02x"')"
    fi
}
start counter first
# Its number is taken, so it gets another.
echo "taken:x:$(sed -n 1p /run/counter):$(sed -n 1p /run/counter)::/:/bin/false" >>/etc/passwd
start counter second
start next next
start copy copy
start plain plain
start wide wide
# What a user's own manager calls so is not the unit.
mkdir -p /run/user/1000 && chown user /run/user/1000
as_user() {
    setpriv --reuid 1000 --regid 1000 --clear-groups env XDG_RUNTIME_DIR=/run/user/1000 "$@"
}
systemctl start manager
as_user systemctl --user start counter 2>/dev/null || true
echo "error $(grep request_key: /run/user/1000/counter)"
# And what would be decided, as the callout decides it.
systemctl start waits
explain() {
    tdk policy explain --pid "$(systemctl show -p MainPID --value waits)" --key-id "$@" || true
}
explain counter --what 32 --identity cgroup
sed -i 's/next.service/waits.service/' /etc/tdk/policy.toml
explain counter --what 32 --identity cgroup --scope any
explain counter --what 32 --identity id
"#;

#[test]
fn keys_of_units_and_a_policy_by_unit() {
    let Some(machine) = debian() else { return };
    let any = "32 cgroup scope=any";
    let units = [
        unit("counter", "DynamicUser=yes", any),
        unit("next", "DynamicUser=yes", any),
        unit("copy", "DynamicUser=yes", any),
        unit("plain", "User=user", "32 cgroup"),
        unit("wide", "User=user", any),
    ];
    let mut guest = machine
        .guest()
        .state(golden::state())
        .time_limit(Duration::from_mins(6))
        .file(programs::tdk_file(), "/usr/bin/tdk", 0o755)
        .text("/etc/tdk/policy.toml", POLICY)
        .text(
            "/etc/systemd/system/waits.service",
            "[Service]\nDynamicUser=yes\nExecStart=/bin/sleep infinity\n",
        )
        .text(
            "/etc/systemd/system/manager.service",
            "[Service]\nType=notify\nUser=user\nDelegate=yes\nSlice=user-1000.slice\n\
             KeyringMode=inherit\nEnvironment=XDG_RUNTIME_DIR=/run/user/1000\n\
             ExecStart=/lib/systemd/systemd --user\n",
        );
    // The same, but that it is in the user's manager.
    let (_, text) = unit("user/1000/counter", "", any);
    guest = guest.text("/etc/systemd/user/counter.service", text);
    for (file, text) in units {
        guest = guest.text(file, text);
    }
    let mut script = Script::default();
    script.lines(UNITS, 7);
    let (answers, run) = script.run(guest);
    let output = String::from_utf8(run.stdout).unwrap();

    let (first, second) = (value(&output, "uid-first"), value(&output, "uid-second"));
    assert_ne!(first, second);
    let asked = |info: &str, uid, unit: &str| {
        Request::user(
            "counter",
            info,
            uid,
            format!("/system.slice/{unit}.service"),
        )
    };
    let expected = oracle::derive(
        &golden::tpm().tcti(),
        &[
            asked(any, 0, "counter"),
            asked(any, 0, "next"),
            asked("32 cgroup", 1000, "plain"),
        ],
    );
    let [counter, next, plain] = <[_; 3]>::try_from(expected).unwrap();
    let no = || errno("EACCES");
    assert_eq!(
        answers,
        [counter.clone(), counter, next, no(), plain, no(), no()],
        "{output}"
    );

    let explained: Vec<_> = output
        .lines()
        .filter(|line| line.starts_with("allowed") || line.starts_with("refused"))
        .collect();
    let rule = "allowed by rule 'the counters, whoever they run as' at /etc/tdk/policy.toml:4";
    let default = "refused: the default of the policy denies it";
    assert_eq!(explained, [default, rule, default], "{output}");
}

#[test]
fn what_stays_over_a_reboot() {
    if debian().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let disk = directory.path().join("disk");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let guest = Guest::builder().system(System::Debian).without_tpm();
    let script = r"
        cat >/etc/systemd/system/once.service <<'END'
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'head -c 5 /dev/vdb >/root/seen'
[Install]
WantedBy=multi-user.target
END
        systemctl enable once.service && printf hello >/dev/vdb";
    let run = guest.root(&root).disk(&disk).script(script).run().unwrap();
    assert_eq!(run.status, 0, "{run:?}");

    // By hand, and by then the unit has run.
    let script = directory.path().join("script");
    std::fs::write(&script, "cat /root/seen; exit 3").unwrap();
    let output = Command::new(programs::tdk_sim())
        .args(["guest", "--system", "debian", "--tpm", "none", "--root"])
        .args([root.as_path(), Path::new("--disk"), &disk])
        .args([Path::new("--script"), &script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stdout, b"hello");
}

#[test]
fn a_system_that_does_not_start() {
    if debian().is_none() {
        return;
    }
    let guest = Guest::builder().system(System::Debian).without_tpm();
    let fstab = "none /mnt nonsense defaults 0 0\n";
    let error = guest.text("/etc/fstab", fstab).script("true").run();
    let error = error.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, GuestError::Died { .. }), "{text}");
    assert!(text.contains("before the script began"), "{text}");
    // The journal says why.
    let why = "Dependency failed for local-fs.target";
    assert!(text.contains(why), "{text}");
}
