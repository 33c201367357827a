//! Decides whether an event matches: first by its envelope, then by its data if that is needed.

use super::array_consistency::ElementId;
use super::match_state::MatchState;
use super::scanner::{ScanBuffers, ScanOutcome, Scanner, Shape};
use crate::compiled::filters::{CompiledFilters, Condition, Part};
use crate::event_format::EventFormat;
use crate::json::error::NotJson;
use crate::json::leaf::Leaf;

/// An event to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct Event<'e> {
    /// The event as a function receives it: one JSON object. Except for [`EventFormat::Json`] it must
    /// be valid JSON, because evaluation may end before its end.
    pub json: &'e [u8],
    /// The data of the event, as written between its quotes: `data` of Kinesis records, `body` of SQS
    /// messages. Ignored for other formats.
    pub data: &'e [u8],
}

/// Memory that evaluation reuses from event to event.
#[derive(Debug, Default)]
pub struct MatchBuffers {
    pub(super) state: MatchState,
    scan: ScanBuffers,
    unescaped: Vec<u8>,
    decoded: Vec<u8>,
    /// What the data is, if it was needed.
    pub(super) data: Option<DataKind>,
    /// The data as a string, for explanations.
    pub(super) plain_data: Option<String>,
    pub(super) is_not_an_object: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataKind {
    /// A JSON object or array.
    Container,
    /// Any other JSON value. Patterns may treat it as JSON or as plain text.
    Scalar,
    NotJson,
}

/// Whether an event matches one of the filters.
pub(crate) fn matches(
    filters: &CompiledFilters,
    event: Event<'_>,
    buffers: &mut MatchBuffers,
) -> bool {
    buffers.state.reset(filters);
    (buffers.data, buffers.plain_data) = (None, None);
    buffers.is_not_an_object = false;
    if let Some(root) = filters.envelope {
        let MatchBuffers { state, scan, .. } = buffers;
        let trusted = filters.format != EventFormat::Json;
        match Scanner::new(event.json, root, filters, state, scan).run(trusted) {
            Ok(ScanOutcome::Decided) => return state.is_match_certain(),
            Ok(ScanOutcome::Complete(Shape::Object)) if state.is_match_certain() => return true,
            Ok(ScanOutcome::Complete(Shape::Object)) => {}
            Ok(ScanOutcome::Complete(Shape::Array | Shape::Scalar)) | Err(NotJson) => {
                buffers.is_not_an_object = true;
                return false;
            }
        }
    }
    if evaluate_envelope(filters, &mut buffers.state) {
        return true;
    }
    let state = &buffers.state;
    let is_about_data = |it: &Condition| it.part != Part::Envelope;
    let undecided = state.has_candidates() || state.is_recording();
    undecided && filters.conditions.iter().any(is_about_data) && {
        evaluate_data(filters, event, buffers)
    }
}

/// Whether a rule holds that is about the envelope alone. Rules out those whose conditions on the
/// envelope are not met.
fn evaluate_envelope(filters: &CompiledFilters, state: &mut MatchState) -> bool {
    for (rule, conditions) in filters.rules.iter().enumerate() {
        let is_about_envelope = |it: &usize| filters.conditions[*it].part == Part::Envelope;
        let envelope_only = conditions.iter().all(is_about_envelope);
        if envelope_only && state.holds(filters, rule) {
            return true;
        }
        let about_envelope = conditions.iter().copied().filter(is_about_envelope);
        if envelope_only || !state.may_hold(filters, about_envelope) {
            state.rule_out(rule);
        }
    }
    false
}

/// Whether a rule holds, including those about the data.
fn evaluate_data(filters: &CompiledFilters, event: Event<'_>, buffers: &mut MatchBuffers) -> bool {
    let MatchBuffers {
        state,
        scan,
        unescaped,
        decoded,
        data,
        plain_data,
        is_not_an_object: _,
    } = buffers;
    let decoded = filters.format.decode(event.data, unescaped, decoded);
    let scanned = decoded.map_or(Err(NotJson), |decoded| {
        Scanner::new(decoded, filters.data, filters, state, scan).run(false)
    });
    let kind = match scanned {
        Ok(ScanOutcome::Decided) => return false,
        Ok(ScanOutcome::Complete(Shape::Object | Shape::Array)) => DataKind::Container,
        Ok(ScanOutcome::Complete(Shape::Scalar)) => DataKind::Scalar,
        Err(NotJson) => DataKind::NotJson,
    };
    *data = Some(kind);
    // A pattern for JSON never matches data that is not JSON, and a pattern for plain text never
    // matches a JSON object or array.
    let excluded = match kind {
        DataKind::Container => Some(Part::PlainData),
        DataKind::NotJson => Some(Part::Data),
        DataKind::Scalar => None,
    };
    let string = Leaf::String(decoded.unwrap_or_default());
    *plain_data = state.is_recording().then(|| string.to_string());
    for &condition in &filters.plain_data {
        state.test_condition(filters, condition, ElementId::NONE, string, true);
    }
    let is_excluded = |it: &usize| Some(filters.conditions[*it].part) == excluded;
    (0..filters.rules.len())
        .any(|rule| !filters.rules[rule].iter().any(is_excluded) && state.holds(filters, rule))
}
