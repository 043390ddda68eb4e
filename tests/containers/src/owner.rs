// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whose container it is: a process, by its id and the time of its start. When that
//! process is gone, nobody needs the container any more.

/// Names the process on whose behalf tests are run, if it is another than the test's.
const VARIABLE: &str = "TDK_CONTAINERS_OWNER";

/// The field `starttime` of /proc/PID/stat (proc(5)), counted from the one after the name,
/// which may have blanks in it.
const START_TIME: usize = 22 - 3;

/// The owner of this process's containers.
pub(crate) fn of_this_process() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        let pid = std::process::id().to_string();
        let start = start_time(&pid).expect("this process is there");
        format!("{pid}:{start}")
    })
}

/// Whether that process is still there.
pub(crate) fn is_alive(owner: &str) -> bool {
    owner
        .split_once(':')
        .is_some_and(|(pid, start)| start_time(pid).as_deref() == Some(start))
}

fn start_time(pid: &str) -> Option<String> {
    pid.parse::<u32>().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(START_TIME).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alive() {
        let own = of_this_process();
        assert!(is_alive(&own));
        let (pid, start) = own.split_once(':').expect("a process and a time");
        assert!(!is_alive(&format!("{pid}:1{start}")), "another before it");
        assert!(!is_alive("4294967295:1"), "no process");
        for nobody in ["", ":", "1", "self:1", "../1:1"] {
            assert!(!is_alive(nobody), "{nobody}");
        }
    }
}
