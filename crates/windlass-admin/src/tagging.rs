//! The operations about tags. A change of tags is not a change of its mapping.

use serde_json::{Value, json};
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Swap;
use windlass_core::spec::MappingSpec;
use windlass_core::tags::Tags;
use windlass_core::validate::{self, TaggedResource};

use crate::control::{Control, WRITE_ATTEMPTS};
use crate::errors::{ApiError, Code};

impl Control {
    pub(crate) async fn list_tags(&self, resource: &str) -> Result<Value, ApiError> {
        let id = self.tagged_mapping(resource)?;
        let tags = self.store().tags(&id).await?;
        let tags = tags.ok_or_else(|| not_found(resource))?;
        Ok(json!({"Tags": tags.to_json()}))
    }

    pub(crate) async fn tag(&self, resource: &str, body: &MappingSpec) -> Result<(), ApiError> {
        let id = self.tagged_mapping(resource)?;
        let more = validate::tag_resource(body)?;
        self.change_tags(&id, resource, |tags| tags.with(&more))
            .await
    }

    pub(crate) async fn untag(&self, resource: &str, keys: &[String]) -> Result<(), ApiError> {
        let id = self.tagged_mapping(resource)?;
        validate::untag_resource(keys)?;
        let keys = || keys.iter().map(String::as_str);
        self.change_tags(&id, resource, |tags| tags.without(keys()))
            .await
    }

    async fn change_tags(
        &self,
        id: &MappingId,
        resource: &str,
        change: impl Fn(&Tags) -> Tags,
    ) -> Result<(), ApiError> {
        for _ in 0..WRITE_ATTEMPTS {
            let tags = self.store().tags(id).await?;
            let tags = tags.ok_or_else(|| not_found(resource))?;
            let next = change(&tags);
            validate::number_of_tags(&next)?;
            if self.store().set_tags(id, &tags, &next).await? == Swap::Done {
                return Ok(());
            }
        }
        Err(ApiError::new(
            Code::Service,
            "cannot write the tags: other writers keep changing them",
        ))
    }

    fn tagged_mapping(&self, resource: &str) -> Result<MappingId, ApiError> {
        match validate::tagged_resource(resource)? {
            TaggedResource::Mapping { scope, id } if scope == *self.home() => Ok(id),
            TaggedResource::Mapping { .. } => Err(not_found(resource)),
            TaggedResource::Other { not_found } => {
                let text = format!("{not_found}: {resource}");
                Err(ApiError::new(Code::ResourceNotFound, text))
            }
        }
    }
}

fn not_found(resource: &str) -> ApiError {
    let text = format!("Event source mapping not found: {resource}");
    ApiError::new(Code::ResourceNotFound, text)
}
