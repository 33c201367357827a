//! The store: whether a daemon can use it, and how long its transactions take.

use std::time::Duration;

use windlass_adapters::stores::{self, StoreContents, StoreInspection};
use windlass_engine::ports::chain;

use super::Finding;

/// From here on saving checkpoints, for which every shard waits, is slow: disks that are not busy take
/// less than a tenth of it.
const SLOW: Duration = Duration::from_millis(100);

/// The findings, and the process that uses the store.
pub(super) fn check(url: &str) -> (Vec<Finding>, Option<String>) {
    let subject = format!("store {url}");
    match stores::inspect(url) {
        Ok(found) => {
            let findings = [Some(contents(&subject, &found)), transaction(url, &found)];
            (findings.into_iter().flatten().collect(), found.used_by)
        }
        Err(error) => (vec![Finding::wrong(subject, chain(&error), None)], None),
    }
}

fn contents(subject: &str, found: &StoreInspection) -> Finding {
    let contents = match found.contents {
        StoreContents::None => "it does not exist yet, and can be created".to_owned(),
        StoreContents::Older => {
            "it is of an earlier version, and the next start of this one updates it".to_owned()
        }
        StoreContents::Mappings(count) => format!("it has {count} mappings"),
    };
    match &found.used_by {
        Some(process) => Finding::warning(
            subject,
            format!("{process} is using it; {contents}"),
            "stop that process before another daemon starts",
        ),
        None => Finding::ok(subject, contents),
    }
}

fn transaction(url: &str, found: &StoreInspection) -> Option<Finding> {
    let time = found.transaction?;
    let subject = format!("disk of store {url}");
    let text = format!("a transaction takes {:.1} ms", time.as_secs_f64() * 1_000.0);
    Some(if time < SLOW {
        Finding::ok(subject, text)
    } else {
        Finding::warning(
            subject,
            format!("{text}, which slows every checkpoint"),
            "use a local disk",
        )
    })
}
