//! Compiles the patterns of a mapping into one set of rules and one tree of paths.
//!
//! Filters are alternatives, and so are the branches of an `$or`: the rules of all patterns form one
//! list, and one rule that holds is enough.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::error::PatternError;
use super::rules::{self, ParsedCondition, ParsedRule};
use crate::compiled::filters::{CompiledFilters, Condition, Part};
use crate::compiled::path_tree::{NodeId, PathTree};
use crate::event_format::{EventFormat, Location};

/// Maximum number of filters of a mapping. AWS's default quota is five, ten on request.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>
pub const MAX_FILTERS: usize = 10;

/// Compiles patterns for events of a format.
///
/// # Errors
/// The first error of each invalid pattern, with the index of the pattern.
pub(crate) fn compile(
    format: EventFormat,
    patterns: &[&str],
) -> Result<CompiledFilters, Vec<(usize, PatternError)>> {
    let mut compiler = Compiler::new(format);
    let mut errors = Vec::new();
    for (index, text) in patterns.iter().enumerate() {
        match parse(format, text) {
            Ok(rules) => compiler.add(&rules),
            Err(error) => errors.push((index, error)),
        }
    }
    if MAX_FILTERS < patterns.len() {
        let reason = format!("more than {MAX_FILTERS} filters");
        errors.push((MAX_FILTERS, PatternError::new(0, &reason)));
    }
    if errors.is_empty() {
        Ok(compiler.finish())
    } else {
        Err(errors)
    }
}

fn parse(format: EventFormat, text: &str) -> Result<Vec<ParsedRule>, PatternError> {
    let rules = rules::parse(text)?;
    if let Some(field) = format.json_field()
        && let Some(condition) = rules.iter().find_map(|rule| rule.get(field))
    {
        let reason = format!("`{field}` is JSON and takes an object of fields");
        return Err(PatternError::new(condition.offset, &reason).in_field(field));
    }
    Ok(rules)
}

struct Compiler {
    filters: CompiledFilters,
    envelope: NodeId,
}

impl Compiler {
    fn new(format: EventFormat) -> Self {
        let mut tree = PathTree::default();
        let data = tree.add_root();
        let envelope = tree.add_root();
        let filters = CompiledFilters {
            format,
            tree,
            conditions: Vec::new(),
            rules: Vec::new(),
            envelope: None,
            data,
            plain_data: Vec::new(),
        };
        Self { filters, envelope }
    }

    /// Adds the rules of a pattern. A condition that several of them share is added once.
    fn add(&mut self, rules: &[ParsedRule]) {
        let mut added = BTreeMap::new();
        for rule in rules {
            let rule_index = self.filters.rules.len();
            let mut conditions: Vec<usize> = Vec::new();
            for condition in rule.values() {
                let index = *added
                    .entry(Rc::as_ptr(condition))
                    .or_insert_with(|| self.add_condition(condition));
                self.filters.conditions[index].rules.push(rule_index);
                conditions.push(index);
            }
            // AWS's matcher visits paths in the order of UTF-16, which matters for absent fields in
            // arrays.
            conditions.sort_by(|one, other| {
                let path = |index: &usize| self.filters.conditions[*index].path.encode_utf16();
                path(one).cmp(path(other))
            });
            self.filters.rules.push(conditions);
        }
    }

    fn add_condition(&mut self, condition: &ParsedCondition) -> usize {
        let filters = &mut self.filters;
        let index = filters.conditions.len();
        let (part, node) = match filters.format.locate(&condition.path) {
            Location::Envelope(path) => {
                let node = filters.tree.add_path(self.envelope, &path);
                (Part::Envelope, Some(node))
            }
            Location::Data(path) => {
                let node = filters.tree.add_path(filters.data, &path);
                (Part::Data, Some(node))
            }
            Location::PlainData => (Part::PlainData, None),
            Location::Nowhere => (Part::Envelope, None),
        };
        if let Some(node) = node {
            filters.tree.add_condition(node, index);
        }
        if part == Part::PlainData {
            filters.plain_data.push(index);
        }
        filters.conditions.push(Condition {
            path: condition.path.to_string(),
            tests: condition.tests.clone(),
            allows_absent: condition.allows_absent,
            text: condition.text.clone(),
            rules: Vec::new(),
            node,
            part,
        });
        index
    }

    fn finish(self) -> CompiledFilters {
        let needs_envelope = self.filters.tree.has_children(self.envelope);
        CompiledFilters {
            envelope: needs_envelope.then_some(self.envelope),
            ..self.filters
        }
    }
}
