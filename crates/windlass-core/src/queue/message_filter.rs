//! Which messages of a receive the function receives: those that match the filter and fit into an
//! event.

use std::collections::BTreeSet;

use windlass_filter::{Event, MatchBuffers};

use super::interface::Report;
use super::settings::QueueConsumerSettings;
use crate::batch::BatchLimits;
use crate::ids::ReceiptHandle;
use crate::message::Message;

#[derive(Debug, Default)]
pub(super) struct FilteredMessages {
    /// In the order of receipt.
    pub(super) items: Vec<Item>,
    /// Messages that cannot be rendered or exceed the payload limit.
    pub(super) undeliverable: Vec<ReceiptHandle>,
    /// Later messages of the groups of those, which must not overtake them.
    pub(super) followers: Vec<ReceiptHandle>,
    pub(super) reports: Vec<Report>,
}

#[derive(Debug)]
pub(super) enum Item {
    Deliver(Message),
    /// No filter matches it.
    Delete(Message),
}

pub(super) fn filter_messages(
    messages: Vec<Message>,
    settings: &QueueConsumerSettings,
    limits: BatchLimits,
) -> FilteredMessages {
    let mut filtered = FilteredMessages::default();
    let mut scratch = MatchBuffers::default();
    let (mut barred_groups, mut all_barred) = (BTreeSet::new(), false);
    let mut n_filtered_out = 0;
    for message in messages {
        let bytes = message.event.len();
        if let Some(reason) = message.unreadable {
            let message_id = message.message_id.detached();
            let report = Report::Unreadable { message_id, reason };
            filtered.reports.push(report);
            // Any later message may be of the same group if its group is unknown.
            all_barred |= settings.mapping.fifo && message.group.is_none();
            barred_groups.extend(message.group);
            filtered.undeliverable.push(message.receipt_handle);
        } else if !is_match(&message, settings, &mut scratch) {
            n_filtered_out += 1;
            filtered.items.push(Item::Delete(message));
        } else if !limits.fits_alone(bytes) {
            let message_id = message.message_id.detached();
            let report = Report::MessageTooLarge { message_id, bytes };
            filtered.reports.push(report);
            barred_groups.extend(message.group);
            filtered.undeliverable.push(message.receipt_handle);
        } else if all_barred || message.group.is_some_and(|it| barred_groups.contains(&it)) {
            filtered.followers.push(message.receipt_handle);
        } else {
            filtered.items.push(Item::Deliver(message));
        }
    }
    if n_filtered_out != 0 {
        let n_messages = n_filtered_out;
        filtered.reports.push(Report::FilteredOut { n_messages });
    }
    filtered
}

fn is_match(
    message: &Message,
    settings: &QueueConsumerSettings,
    scratch: &mut MatchBuffers,
) -> bool {
    settings.filter.as_ref().is_none_or(|filter| {
        let event = Event {
            json: &message.event,
            data: &message.event[message.body.clone()],
        };
        filter.matches(event, scratch)
    })
}
