//! Labels of the metrics of one mapping: its UUID and the name of its function.

use metrics::{Label, SharedString};
use windlass_core::arn::Arn;
use windlass_core::mapping::MappingId;

#[derive(Clone, Debug)]
pub(crate) struct Labels([Label; 2]);

impl Labels {
    pub(crate) fn new(mapping: &MappingId, function: &Arn) -> Self {
        let mapping = SharedString::from(mapping.to_string());
        Self([
            Label::new("mapping", mapping),
            Label::new("function", function_name(function)),
        ])
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    pub(crate) fn with(&self, name: &'static str, value: impl Into<SharedString>) -> Vec<Label> {
        let mut labels = self.0.to_vec();
        labels.push(Label::new(name, value));
        labels
    }
}

/// The name of a function, with its qualifier if it has one.
fn function_name(arn: &Arn) -> SharedString {
    let resource = arn.resource();
    let name = resource.strip_prefix("function:").unwrap_or(resource);
    name.to_owned().into()
}
