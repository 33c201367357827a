//! The configuration of the daemon that is measured.

use std::path::Path;

use super::programs::{Function, Load};

pub(super) const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/bench";
/// What the ARN of its consumer has after that.
const CONSUMER: &str = "/consumer/bench:1700000000";

/// The number of the queue follows.
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:bench";

/// The text of a configuration. `endpoint` is that of the source and its function.
pub(super) fn text(
    load: &Load,
    endpoint: &str,
    store: &Path,
    port: u16,
    programs_dir: &Path,
) -> String {
    let url = |path: &str| format!("{{url: \"{endpoint}/{path}\", timeout: 15m}}");
    let function = match load.function {
        Function::Answers => url("function"),
        Function::AnswersLate => url("late"),
        Function::AnswersMuch => url("large"),
        Function::Hangs => url("hang"),
        Function::Process => {
            let program = programs_dir.join("windlass-emulator");
            let (program, shards) = (program.display(), load.shards);
            format!(
                "{{command: [\"{program}\", function, --source, \"{endpoint}\"], \
                 processes: {{minimum: {shards}, maximum: {shards}}}}}"
            )
        }
    };
    let (store, batch_size) = (store.display(), load.batch_size);
    let mut text = format!(
        "listen: 127.0.0.1:{port}\n\
         store: \"sqlite:{store}\"\n\
         aws: {{endpoints: {{kinesis: \"{endpoint}\", sqs: \"{endpoint}\"}}}}\n\
         functions:\n"
    );
    for number in 0..load.mappings {
        text.push_str(&format!("  {}: {function}\n", self::function(number)));
    }
    if load.is_replay {
        return text;
    }
    text.push_str("mappings:\n");
    for number in 0..load.mappings {
        text.push_str(&format!(
            "  - FunctionName: {}\n    BatchSize: {batch_size}\n",
            self::function(number)
        ));
        text.push_str(&source_members(load, number));
        if load.function == Function::AnswersMuch {
            text.push_str("    FunctionResponseTypes: [ReportBatchItemFailures]\n");
        }
    }
    text
}

/// The name of the function of a mapping.
pub(super) fn function(mapping: u32) -> String {
    format!("bench{mapping}")
}

/// The members of a mapping that depend on its source.
fn source_members(load: &Load, mapping: u32) -> String {
    let Some(queue) = load.queue else {
        let factor = load.parallelization_factor;
        let consumer = if load.fan_out { CONSUMER } else { "" };
        return format!(
            "    EventSourceArn: {STREAM}{consumer}\n    StartingPosition: TRIM_HORIZON\n    \
             ParallelizationFactor: {factor}\n"
        );
    };
    if queue.groups != 0 {
        return format!("    EventSourceArn: {QUEUE}{mapping}.fifo\n");
    }
    let window = queue.window.as_secs();
    format!("    EventSourceArn: {QUEUE}{mapping}\n    MaximumBatchingWindowInSeconds: {window}\n")
}
