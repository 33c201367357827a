//! The filters of a mapping, compiled: rules over conditions, and the tree of the names they need.
//!
//! Filters are alternatives, and so are the branches of `$or` within one; so a mapping's filters are
//! one list of rules, of which one is enough.

use std::collections::BTreeMap;

use super::elements::ElementId;
use super::findings::Findings;
use super::reader::NotJson;
use super::rules::{self, Rule};
use super::tree::{NodeId, Tree};
use super::value::{Leaf, ValueTest};
use super::view::{Place, View};
use super::walk::{Room, Shape, Walk, Walked};
use super::{MAXIMUM_FILTERS, PatternError};

/// Which records of a source reach the function: those that match one of the patterns.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>
#[derive(Clone, Debug, PartialEq)]
pub struct Criteria {
    view: View,
    pub(super) patterns: Vec<String>,
    pub(super) tree: Tree,
    pub(super) conditions: Vec<Condition>,
    /// Each a way to match: its conditions, in the order of their paths.
    pub(super) rules: Vec<Vec<usize>>,
    /// Where a walk over an event begins, if a condition is about more than its data.
    envelope: Option<NodeId>,
    /// Where a walk over its data begins.
    data: NodeId,
    /// Conditions about the data as a text.
    plain: Vec<usize>,
}

/// What a pattern says of one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) path: String,
    pub(super) tests: Vec<ValueTest>,
    pub(super) absent: bool,
    /// As it stands in the pattern.
    pub(super) text: String,
    /// The rules that it is part of.
    pub(super) rules: Vec<usize>,
    /// Where its value is looked for; `None`: there can be none.
    pub(super) node: Option<NodeId>,
    part: Part,
}

/// Which text a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Envelope,
    /// A field of the data.
    Data,
    /// The data as a text.
    PlainData,
}

/// A record or message as filters look at it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    /// As the function sees it: one JSON object.
    pub event: &'s [u8],
    /// The text between the quotes of its data, as it stands in the event: of Kinesis `data`, of
    /// SQS `body`. Of no account for other sources.
    pub data: &'s [u8],
}

/// What filters need room for; one serves any number of records, one after the other.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) findings: Findings,
    room: Room,
    text: Vec<u8>,
    decoded: Vec<u8>,
    /// Whether the data was needed, and what it turned out to be.
    pub(super) data: Option<DataKind>,
    /// The data as a text, for an explanation.
    pub(super) plain: Option<String>,
    /// Whether the event is no JSON object.
    pub(super) broken: bool,
}

/// What data can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataKind {
    /// A JSON object or list.
    Container,
    /// Any other JSON value; as a text it may be meant plainly.
    Scalar,
    NotJson,
}

impl Criteria {
    /// Compiles the patterns of a mapping, at least one.
    ///
    /// # Errors
    /// What is wrong, with the number of the pattern from zero: the first mistake of each.
    pub fn compile(view: View, patterns: &[&str]) -> Result<Self, Vec<(usize, PatternError)>> {
        assert!(!patterns.is_empty(), "without filters everything passes");
        let mut compiled = Self::empty(view, patterns);
        let envelope = compiled.tree.add_root();
        let mut errors = Vec::new();
        for (number, text) in patterns.iter().enumerate() {
            let rules = rules::compile(text).and_then(|rules| {
                view.check(&rules)?;
                Ok(rules)
            });
            match rules {
                Ok(rules) => compiled.add(&rules, envelope),
                Err(error) => errors.push((number, error)),
            }
        }
        if MAXIMUM_FILTERS < patterns.len() {
            let reason = format!("there are more than {MAXIMUM_FILTERS} filters");
            errors.push((MAXIMUM_FILTERS, PatternError::new(0, &reason)));
        }
        if compiled.tree.has_children(envelope) {
            compiled.envelope = Some(envelope);
        }
        if errors.is_empty() {
            Ok(compiled)
        } else {
            Err(errors)
        }
    }

    /// The patterns, as they were given.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether a record or message passes.
    pub fn passes(&self, subject: Subject<'_>, scratch: &mut Scratch) -> bool {
        scratch.findings.begin(self);
        (scratch.data, scratch.plain, scratch.broken) = (None, None, false);
        if let Some(root) = self.envelope {
            let Scratch { findings, room, .. } = scratch;
            let trusted = self.view != View::Whole;
            match Walk::new(subject.event, root, self, findings, room).run(trusted) {
                Ok(Walked::Decided) => return findings.is_sure(),
                Ok(Walked::Whole(Shape::Object)) if findings.is_sure() => return true,
                Ok(Walked::Whole(Shape::Object)) => {}
                Ok(Walked::Whole(Shape::List | Shape::Scalar)) | Err(NotJson) => {
                    scratch.broken = true;
                    return false;
                }
            }
        }
        if self.judge_envelope(&mut scratch.findings) {
            return true;
        }
        let findings = &scratch.findings;
        let about_data = |it: &Condition| it.part != Part::Envelope;
        let open = findings.any_alive() || findings.observes();
        open && self.conditions.iter().any(about_data) && self.judge_data(subject, scratch)
    }

    /// Whether a rule holds that is about the envelope alone. Of the others, those whose envelope
    /// is not as they want it are out.
    fn judge_envelope(&self, findings: &mut Findings) -> bool {
        for (number, rule) in self.rules.iter().enumerate() {
            let about = |part| move |it: &usize| self.conditions[*it].part == part;
            let whole = rule.iter().all(about(Part::Envelope));
            if whole && findings.holds(self, number) {
                return true;
            }
            let own = rule.iter().copied().filter(about(Part::Envelope));
            if whole || !findings.may_hold(self, own) {
                findings.kill(number);
            }
        }
        false
    }

    /// Whether a rule holds, those about the data included.
    fn judge_data(&self, subject: Subject<'_>, scratch: &mut Scratch) -> bool {
        let Scratch {
            findings,
            room,
            text,
            decoded,
            data,
            plain,
            broken: _,
        } = scratch;
        let decoded = self.view.decode(subject.data, text, decoded);
        let walked = decoded.map_or(Err(NotJson), |decoded| {
            Walk::new(decoded, self.data, self, findings, room).run(false)
        });
        let kind = match walked {
            Ok(Walked::Decided) => return false,
            Ok(Walked::Whole(Shape::Object | Shape::List)) => DataKind::Container,
            Ok(Walked::Whole(Shape::Scalar)) => DataKind::Scalar,
            Err(NotJson) => DataKind::NotJson,
        };
        *data = Some(kind);
        // A pattern for JSON drops what is not JSON; one for a text drops what is more than a text.
        let unfit = match kind {
            DataKind::Container => Some(Part::PlainData),
            DataKind::NotJson => Some(Part::Data),
            DataKind::Scalar => None,
        };
        let text = Leaf::Text(decoded.unwrap_or_default());
        *plain = findings.observes().then(|| text.to_string());
        for &condition in &self.plain {
            findings.judge(self, condition, ElementId::NONE, text, true);
        }
        let is_unfit = |it: &usize| Some(self.conditions[*it].part) == unfit;
        (0..self.rules.len())
            .any(|rule| !self.rules[rule].iter().any(is_unfit) && findings.holds(self, rule))
    }

    /// One of the patterns alone.
    pub(super) fn only(&self, pattern: usize) -> Self {
        let text = self.patterns[pattern].as_str();
        Self::compile(self.view, &[text]).expect("it was compiled before")
    }

    /// What AWS calls the data of this source.
    pub(super) fn data_name(&self) -> &'static str {
        match self.view {
            View::Sqs => "body",
            View::Kinesis | View::DynamoDbStreams | View::Whole => "data",
        }
    }

    /// Whether a rule is about the data as a text.
    pub(super) fn wants_plain(&self, conditions: &[usize]) -> bool {
        conditions
            .iter()
            .any(|it| self.conditions[*it].is_about_text())
    }

    fn empty(view: View, patterns: &[&str]) -> Self {
        let mut tree = Tree::default();
        let data = tree.add_root();
        Self {
            view,
            patterns: patterns.iter().map(|&text| text.to_owned()).collect(),
            tree,
            conditions: Vec::new(),
            rules: Vec::new(),
            envelope: None,
            data,
            plain: Vec::new(),
        }
    }

    /// Adds the rules of a pattern; a condition that several of them share is kept once.
    fn add(&mut self, rules: &[Rule], envelope: NodeId) {
        let mut known = BTreeMap::new();
        for rule in rules {
            let number = self.rules.len();
            let mut conditions: Vec<usize> = Vec::new();
            for condition in rule.values() {
                let index = *known
                    .entry(std::rc::Rc::as_ptr(condition))
                    .or_insert_with(|| self.add_condition(condition, envelope));
                self.conditions[index].rules.push(number);
                conditions.push(index);
            }
            // The order in which AWS's matcher looks at paths, which counts for absence in lists.
            conditions.sort_by(|one, other| {
                let path = |index: &usize| self.conditions[*index].path.encode_utf16();
                path(one).cmp(path(other))
            });
            self.rules.push(conditions);
        }
    }

    fn add_condition(&mut self, condition: &rules::Condition, envelope: NodeId) -> usize {
        let number = self.conditions.len();
        let (part, node) = match self.view.place(&condition.path) {
            Place::Envelope(path) => (Part::Envelope, Some(self.tree.add_path(envelope, &path))),
            Place::Data(path) => (Part::Data, Some(self.tree.add_path(self.data, &path))),
            Place::PlainData => (Part::PlainData, None),
            Place::Nowhere => (Part::Envelope, None),
        };
        if let Some(node) = node {
            self.tree.add_condition(node, number);
        }
        if part == Part::PlainData {
            self.plain.push(number);
        }
        self.conditions.push(Condition {
            path: condition.path.to_string(),
            tests: condition.tests.clone(),
            absent: condition.absent,
            text: condition.text.clone(),
            rules: Vec::new(),
            node,
            part,
        });
        number
    }
}

impl Condition {
    /// Whether it is about a field of the data.
    pub(super) fn is_about_data(&self) -> bool {
        self.part == Part::Data
    }

    /// Whether it is about the data as a text.
    pub(super) fn is_about_text(&self) -> bool {
        self.part == Part::PlainData
    }
}
