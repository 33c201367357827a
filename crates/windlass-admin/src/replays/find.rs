//! The replays that paths name.

use windlass_core::replay::{ReplayName, ReplayRow};

use crate::control::Control;
use crate::v1::Refusal;

/// The replay of a path.
pub(super) async fn find(control: &Control, name: &str) -> Result<ReplayRow, Refusal> {
    let row = match ReplayName::parse(name) {
        Some(name) => control.store().replay(&name).await?,
        None => None,
    };
    row.ok_or_else(|| Refusal::not_found(format!("there is no replay '{name}'")))
}
