//! Queries of requests, whose parameters are all known.

use axum::extract::FromRequestParts;
use http::request::Parts;
use windlass_core::mapping::MappingId;

use super::Refusal;
use super::body::unknown;

/// The parameters of a request. One without a value is absent.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        match query {
            Ok(axum::extract::Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(Refusal::malformed(error.body_text())),
        }
    }
}

impl Query {
    /// Refuses every parameter that is not one of these, or is given twice.
    pub(crate) fn with(self, known: &[&str]) -> Result<Self, Refusal> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(Refusal::invalid(name, unknown(name, known)));
            }
            if self.0[..index].iter().any(|(other, _)| other == name) {
                return Err(Refusal::invalid(name, format!("'{name}' is given twice")));
            }
        }
        Ok(self)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut parameters = self.0.iter();
        let value = parameters.find(|(other, _)| other == name);
        value
            .map(|(_, value)| value.as_str())
            .filter(|it| !it.is_empty())
    }

    /// The UUID of a mapping, which may not exist any more.
    pub(crate) fn mapping(&self, name: &str) -> Result<Option<MappingId>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match super::mapping::parse_id(text) {
            Some(id) => Ok(Some(id)),
            None => Err(Refusal::invalid(name, format!("'{text}' is not a UUID"))),
        }
    }

    /// What an earlier page has returned to continue after it.
    pub(crate) fn marker<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        parse(text).map(Some).ok_or_else(|| {
            let text = format!("'{text}' is not a marker; use the next_marker of the page before");
            Refusal::invalid(name, text)
        })
    }

    /// The mapping after which a page begins.
    pub(crate) fn mapping_marker(&self, name: &str) -> Result<Option<MappingId>, Refusal> {
        self.marker(name, super::mapping::parse_id)
    }

    /// How many items a page has at most.
    pub(crate) fn page_size(&self, name: &str, max: usize) -> Result<Option<usize>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let size = text.parse().ok().filter(|size| (1..=max).contains(size));
        size.map(Some).ok_or_else(|| {
            let text = format!("'{text}' is not a whole number from 1 to {max}");
            Refusal::invalid(name, text)
        })
    }
}
