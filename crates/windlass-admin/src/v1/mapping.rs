//! The mappings that requests name.

use uuid::Uuid;
use windlass_core::mapping::{DesiredState, MappingId, MappingRow};
use windlass_engine::ports::PortError;

use super::Refusal;
use crate::control::Control;

/// The mapping of `/windlass/v1/mappings/{uuid}/…`.
pub(crate) async fn mapping_of_path(control: &Control, uuid: &str) -> Result<MappingRow, Refusal> {
    let row = find(control, uuid).await?;
    row.ok_or_else(|| Refusal::not_found(format!("there is no mapping {uuid}")))
}

/// The mapping that a member of a body names.
pub(crate) async fn mapping_of_body(
    control: &Control,
    field: &str,
    uuid: &str,
) -> Result<MappingRow, Refusal> {
    let row = find(control, uuid).await?;
    row.ok_or_else(|| Refusal::invalid(field, format!("there is no mapping {uuid}")))
}

/// The full UUID of a mapping.
pub(super) fn parse_id(text: &str) -> Option<MappingId> {
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36)?;
    Some(MappingId::new(&uuid.to_string()))
}

/// `None` as well for a mapping that is being deleted.
async fn find(control: &Control, uuid: &str) -> Result<Option<MappingRow>, PortError> {
    let Some(id) = parse_id(uuid) else {
        return Ok(None);
    };
    let row = control.store().mapping(&id).await?;
    Ok(row.filter(|row| row.desired != DesiredState::Deleted))
}
