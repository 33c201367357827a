//! Descendants of a process, from `/proc`.

use std::collections::BTreeMap;

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
}
