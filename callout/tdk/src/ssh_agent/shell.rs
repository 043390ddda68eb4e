// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a shell is told about an agent.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where ssh finds the agent's socket.
pub(super) const AUTH_SOCK: &str = "SSH_AUTH_SOCK";
/// Where `ssh-agent -k` finds the agent.
pub(super) const AGENT_PID: &str = "SSH_AGENT_PID";

/// The two kinds of shells.
#[derive(Clone, Copy)]
pub(super) enum Shell {
    Bourne,
    C,
}

impl Shell {
    /// The one that this user has.
    pub(super) fn of_user() -> Self {
        match std::env::var_os("SHELL") {
            Some(shell) if shell.as_bytes().ends_with(b"csh") => Self::C,
            _ => Self::Bourne,
        }
    }

    /// What to evaluate, as ssh-agent(1) prints it.
    pub(super) fn announcement(self, socket: &Path, pid: i32) -> Vec<u8> {
        let socket = quoted(socket.as_os_str().as_bytes());
        let pid = pid.to_string();
        let pairs = [(AUTH_SOCK, &socket[..]), (AGENT_PID, pid.as_bytes())];
        let mut text = Vec::new();
        for (name, value) in pairs {
            text.extend(match self {
                Self::Bourne => {
                    [name.as_bytes(), b"=", value, b"; export ", name.as_bytes()].concat()
                }
                Self::C => [b"setenv ", name.as_bytes(), b" ", value].concat(),
            });
            text.extend(b";\n");
        }
        text.extend(format!("echo Agent pid {pid};\n").bytes());
        text
    }
}

/// A word, whatever is in it.
fn quoted(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(byte);
    if word.iter().all(plain) {
        return word.to_vec();
    }
    let mut text = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => text.extend(br"'\''"),
            byte => text.push(*byte),
        }
    }
    text.push(b'\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(shell: Shell, socket: &str) -> String {
        String::from_utf8(shell.announcement(Path::new(socket), 5)).unwrap()
    }

    #[test]
    fn what_shells_evaluate() {
        assert_eq!(
            announcement(Shell::Bourne, "/tmp/tdk-ssh-x/agent.sock"),
            "SSH_AUTH_SOCK=/tmp/tdk-ssh-x/agent.sock; export SSH_AUTH_SOCK;\n\
             SSH_AGENT_PID=5; export SSH_AGENT_PID;\necho Agent pid 5;\n"
        );
        assert_eq!(
            announcement(Shell::C, "/run/a"),
            "setenv SSH_AUTH_SOCK /run/a;\nsetenv SSH_AGENT_PID 5;\necho Agent pid 5;\n"
        );
        let odd = announcement(Shell::Bourne, "/tmp/it's $HOME");
        assert!(
            odd.starts_with("SSH_AUTH_SOCK='/tmp/it'\\''s $HOME'; export"),
            "{odd}"
        );
    }
}
