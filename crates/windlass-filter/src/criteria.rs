//! The filters of a mapping: the entry to this crate.

use crate::compiled::filters::CompiledFilters;
use crate::evaluate::explanation::{Explanation, mismatches};
use crate::evaluate::matching::{self, Event, MatchBuffers};
use crate::event_format::EventFormat;
use crate::pattern::compile::compile;
use crate::pattern::error::PatternError;

/// Filter criteria: one or more patterns. An event must match one of them.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>
#[derive(Clone, Debug, PartialEq)]
pub struct Criteria {
    patterns: Vec<String>,
    compiled: CompiledFilters,
}

impl Criteria {
    /// Compiles one to [`MAX_FILTERS`](crate::MAX_FILTERS) patterns for events of a format.
    ///
    /// # Errors
    /// The first error of each invalid pattern, with the index of the pattern.
    ///
    /// # Panics
    /// If there are no patterns.
    pub fn compile(
        format: EventFormat,
        patterns: &[&str],
    ) -> Result<Self, Vec<(usize, PatternError)>> {
        assert!(!patterns.is_empty(), "without filters every event matches");
        let compiled = compile(format, patterns)?;
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Ok(Self { patterns, compiled })
    }

    /// The patterns as they were given to [`Criteria::compile`].
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether an event matches one of the patterns. Allocates only until `buffers` have grown to
    /// the size that the events need.
    pub fn matches(&self, event: Event<'_>, buffers: &mut MatchBuffers) -> bool {
        matching::matches(&self.compiled, event, buffers)
    }

    /// Evaluates an event like [`Criteria::matches`], and finds out why a pattern does not match.
    /// Slow: it is meant for people.
    pub fn explain(&self, event: Event<'_>) -> Explanation {
        let mismatches: Vec<_> = self
            .patterns
            .iter()
            .map(|pattern| {
                let alone = compile(self.compiled.format, &[pattern]);
                mismatches(&alone.expect("it was compiled before"), event)
            })
            .collect();
        Explanation {
            matches: mismatches.iter().any(Vec::is_empty),
            mismatches,
        }
    }
}
