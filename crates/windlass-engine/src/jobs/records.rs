//! Reads the records that a document names from their stream.

use std::sync::Arc;
use std::time::Duration;

use windlass_core::arn::StreamKind;
use windlass_core::mapping::MappingId;
use windlass_core::record::Record;
use windlass_core::redrive::{FailureDocument, RangeError, RangeReader, RangeStep, Selection};

use super::call::ACCOUNT;
use super::{Caller, Ended};
use crate::memory::{Backpressure, Reservation, ResponseGrant};
use crate::ports::{ReadLimits, StreamReader, log_fault};
use crate::run_unit::EngineContext;
use crate::settings::{
    DYNAMODB_STREAMS_READ_BYTES, DYNAMODB_STREAMS_READ_LIMIT, KINESIS_READ_BYTES,
    KINESIS_READ_LIMIT,
};

/// Records of a read, at least: few reads of many records cost less than many of few.
const MIN_READ: u32 = 1_000;

/// Limit of the time of a read.
const READ_TIMEOUT: Duration = Duration::from_secs(40);

/// Reads the records of a document, with the memory that they take, or says why they cannot be sent.
pub(super) async fn read<T>(
    context: &EngineContext,
    stream: &Arc<dyn StreamReader>,
    document: &FailureDocument,
    selection: Option<Selection>,
    whole_range: bool,
    caller: &Caller<T>,
) -> Result<Result<(Vec<Record>, Reservation), RangeError>, Ended> {
    let settings = &context.settings;
    let (interval, most, max_page) = match document.kind {
        StreamKind::Kinesis => (
            settings.kinesis_catch_up_interval,
            KINESIS_READ_LIMIT,
            KINESIS_READ_BYTES,
        ),
        StreamKind::DynamoDbStreams => (
            settings.dynamodb_streams_catch_up_interval,
            DYNAMODB_STREAMS_READ_LIMIT,
            DYNAMODB_STREAMS_READ_BYTES,
        ),
    };
    let batch_size = u32::try_from(document.batch_size).unwrap_or(u32::MAX);
    let max_records = batch_size.max(MIN_READ).min(most);
    let account = context.budget.account(&MappingId::new(ACCOUNT));
    let mut copies = account.empty();
    let mut shard = Arc::clone(stream).open(&document.shard);
    let mut reader = RangeReader::new(document, selection, whole_range);
    loop {
        let (account, backpressure) = (account.clone(), Backpressure::default());
        let memory = ResponseGrant::new(account, backpressure, context.clock, max_page);
        let limits = ReadLimits {
            max_records,
            memory: &memory,
            timeout: READ_TIMEOUT,
        };
        let result = caller.unless_ended(shard.read(reader.cursor(), limits));
        let result = result.await?.map_err(|error| log_fault(&error));
        let step = reader.handle(result, interval);
        copies.set(reader.bytes());
        match step {
            RangeStep::Read(delay) => caller.unless_ended(tokio::time::sleep(delay)).await?,
            RangeStep::Done(done) => return Ok(done.map(|records| (records, copies))),
        }
    }
}
