//! Inputs and commands as short lines, for the trace of a failure.

use windlass_core::ids::ReceiptHandle;
use windlass_core::message::Message;
use windlass_core::queue::{QueueCommand, QueueInput};

pub(super) fn input_text(input: &QueueInput) -> String {
    match input {
        QueueInput::Received {
            request,
            result: Ok(messages),
        } => format!("received {} {}", request.0, handles_of(messages)),
        QueueInput::Received { .. }
        | QueueInput::Invoked { .. }
        | QueueInput::SlotGranted
        | QueueInput::Deleted { .. }
        | QueueInput::VisibilityChanged { .. }
        | QueueInput::Attributes(_)
        | QueueInput::Drain => format!("{input:?}"),
    }
}

pub(super) fn command_text(command: &QueueCommand) -> String {
    match command {
        QueueCommand::Invoke(batch) => {
            format!("invoke {} {}", batch.id.0, handles_of(&batch.messages))
        }
        QueueCommand::Delete { request, receipts } => {
            format!("delete {} {}", request.0, handles(receipts))
        }
        QueueCommand::ChangeVisibility { request, changes } => {
            let changes = changes
                .iter()
                .map(|it| format!("{} {:?}", it.receipt, it.timeout));
            let changes = changes.collect::<Vec<_>>().join(", ");
            format!("visibility {} [{changes}]", request.0)
        }
        QueueCommand::RequestSlot
        | QueueCommand::CancelSlot
        | QueueCommand::Receive { .. }
        | QueueCommand::Report(_)
        | QueueCommand::Finish => format!("{command:?}"),
    }
}

fn handles_of(messages: &[Message]) -> String {
    let handle = |message: &Message| match message.group {
        Some(group) => format!("{}/{}", group.0, message.receipt_handle),
        None => message.receipt_handle.to_string(),
    };
    let handles: Vec<_> = messages.iter().map(handle).collect();
    format!("[{}]", handles.join(" "))
}

fn handles(receipts: &[ReceiptHandle]) -> String {
    let handles: Vec<_> = receipts.iter().map(ReceiptHandle::as_str).collect();
    format!("[{}]", handles.join(" "))
}
