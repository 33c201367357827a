//! Descendants of a process, from `/proc`, and their end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// Pause between rounds of killing: a process that is forking may need several.
pub(super) const KILL_INTERVAL: Duration = Duration::from_millis(2);

/// All descendants of a process, its children first. A process whose parent has ended belongs to the
/// supervisor, which is the subreaper of all.
pub(super) fn descendants(root: u32) -> Vec<u32> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for pid in processes() {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&root).unwrap_or_default();
    let mut index = 0;
    while let Some(pid) = found.get(index) {
        let more = children.remove(pid).unwrap_or_default();
        found.extend(more);
        index += 1;
    }
    found
}

/// Sends SIGKILL. Some may have ended.
pub(super) fn kill_all(pids: Vec<u32>) {
    for pid in pids {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, Signal::KILL).ok();
        }
    }
}

/// All processes that have a variable with this value, as they were started: descendants inherit it.
pub(super) fn with_variable(name: &str, value: &OsStr) -> Vec<u32> {
    let variable = [name.as_bytes(), b"=", value.as_bytes()].concat();
    let has_it = |pid: &u32| {
        // Those of other users cannot be read, and those that have ended have none.
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|it| it == variable)
    };
    processes().filter(has_it).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(pid: u32) -> Option<u32> {
    // The name of the program is in parentheses and may contain anything, also parentheses.
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = memchr::memrchr(b')', &stat)?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_this_process_has_it_as_a_descendant() {
        let own = std::process::id();
        let parent = parent_of(own).unwrap();
        assert!(descendants(parent).contains(&own));
        assert!(!descendants(own).contains(&parent));
    }

    #[test]
    fn a_process_is_found_by_its_variables() {
        let value = OsStr::new("a value of this test");
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .env("WINDLASS_TEST", value)
            .spawn()
            .unwrap();
        let mut found = Vec::new();
        // The variables of a process become readable shortly after it was started.
        while found.is_empty() && child.try_wait().unwrap().is_none() {
            found = with_variable("WINDLASS_TEST", value);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, [child.id()]);
        for other in [value, OsStr::new("a value")] {
            assert!(with_variable("WINDLASS_TEST", other).is_empty());
        }
    }
}
