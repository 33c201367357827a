//! The tags of a mapping.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/tags-esm.html>

use std::collections::BTreeMap;

use serde_json::Value;

/// Tags of one mapping at most.
pub const MAX_TAGS: usize = 50;

/// Keys with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Members that are not text are left out.
    pub fn from_json(value: &Value) -> Self {
        let members = value.as_object().into_iter().flatten();
        let texts = members
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        Self(texts)
    }

    pub fn to_json(&self) -> Value {
        let members = self
            .iter()
            .map(|(key, value)| (key.to_owned(), value.into()));
        Value::Object(members.collect())
    }

    /// Ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// These tags and `more`, whose values take precedence.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let mut tags = self.clone();
        tags.0.extend(more.0.clone());
        tags
    }

    /// These tags but for those with one of the keys.
    #[must_use]
    pub fn without<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Self {
        let mut tags = self.clone();
        for key in keys {
            tags.0.remove(key);
        }
        tags
    }
}

impl FromIterator<(String, String)> for Tags {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(tags: I) -> Self {
        Self(tags.into_iter().collect())
    }
}
