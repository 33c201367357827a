//! What becomes of records that are given up.

use std::time::Duration;

use windlass_engine::dead_letters::{DeadLetterSettings, Keep, OnFull};

use super::reader::Section;

const RETENTIONS: (Duration, Duration) =
    (Duration::from_mins(1), Duration::from_hours(10 * 366 * 24));

/// One letter may have several MiB.
const SIZES: (u64, u64) = (1 << 20, 1 << 50);

pub(super) fn read(file: &mut Section<'_>) -> DeadLetterSettings {
    let mut settings = DeadLetterSettings::default();
    let mut section = file.section("dead_letters");
    let keep = [
        ("no_destination", Keep::NoDestination),
        ("always", Keep::Always),
        ("never", Keep::Never),
    ];
    if let Some(keep) = one_of(&mut section, "keep", &keep) {
        settings.keep = keep;
    }
    if let Some(retention) = section.duration("retention", RETENTIONS) {
        settings.retention = retention;
    }
    if let Some(field) = section.take("maximum_size")
        && let Some(size) = field.size(SIZES.0, SIZES.1)
    {
        settings.maximum_size = size;
    }
    let on_full = [("hold", OnFull::Hold), ("drop_oldest", OnFull::DropOldest)];
    if let Some(on_full) = one_of(&mut section, "on_full", &on_full) {
        settings.on_full = on_full;
    }
    settings
}

fn one_of<T: Copy>(
    section: &mut Section<'_>,
    name: &'static str,
    values: &[(&str, T)],
) -> Option<T> {
    let field = section.take(name)?;
    let text = field.node.text();
    let value = values.iter().find(|(name, _)| Some(*name) == text);
    if value.is_none() {
        let names: Vec<_> = values.iter().map(|(name, _)| *name).collect();
        field.expected(&format!("one of {}", names.join(", ")));
    }
    value.map(|(_, value)| *value)
}
