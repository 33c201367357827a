//! Scripted faults: what goes wrong, in which operation, and for how many calls.
//!
//! An operation is named after its service and itself, such as `Kinesis.GetRecords`,
//! `DynamoDBStreams.GetRecords` or `SQS.ReceiveMessage`; a function is `function.` and its name.
//! Each operation has a queue of faults.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not executed; the service's error for too many requests.
    Throttle,
    /// Not executed; status 500 and `InternalFailure`.
    InternalFailure,
    /// Not executed; status 400 and this code of AWS, such as `ExpiredIteratorException`.
    Error(String),
    /// Not executed; the connection closes.
    DropRequest,
    /// Executed; the connection closes without a response.
    DropResponse,
    /// Executed; the connection closes in the middle of the response, or of the first event with
    /// records.
    TruncateResponse,
    /// Executed; one byte of the response, or of the first event with records, is another one.
    CorruptResponse,
    /// Executed; nothing follows the start of the response.
    SilentResponse,
}

/// Faults that calls have not met yet.
#[derive(Debug, Default)]
pub struct Faults {
    queues: Mutex<BTreeMap<String, VecDeque<ScriptedFault>>>,
}

#[derive(Debug)]
struct ScriptedFault {
    fault: Fault,
    /// `None`: all calls, until the faults are cleared.
    calls_left: Option<u32>,
}

impl Faults {
    /// Makes the next `times` calls of an operation fail, after those that are already scripted.
    pub fn add(&self, operation: &str, fault: Fault, times: u32) {
        if times != 0 {
            self.push(operation, fault, Some(times));
        }
    }

    /// Makes all calls of an operation fail until [`Faults::clear`], after those that are already
    /// scripted.
    pub fn add_permanent(&self, operation: &str, fault: Fault) {
        self.push(operation, fault, None);
    }

    /// Removes the faults of an operation.
    pub fn clear(&self, operation: &str) {
        self.lock().remove(operation);
    }

    /// Returns the fault of a call, and counts the call.
    pub(crate) fn next(&self, operation: &str) -> Option<Fault> {
        let mut queues = self.lock();
        let queue = queues.get_mut(operation)?;
        let scripted = queue.front_mut()?;
        let fault = scripted.fault.clone();
        if let Some(calls_left) = &mut scripted.calls_left {
            *calls_left -= 1;
            if *calls_left == 0 {
                queue.pop_front();
            }
        }
        Some(fault)
    }

    fn push(&self, operation: &str, fault: Fault, calls_left: Option<u32>) {
        let mut queues = self.lock();
        let queue = queues.entry(operation.to_owned()).or_default();
        queue.push_back(ScriptedFault { fault, calls_left });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<ScriptedFault>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_meets_the_next_fault_of_its_own_operation() {
        let faults = Faults::default();
        faults.add("Kinesis.GetRecords", Fault::Throttle, 2);
        faults.add("Kinesis.GetRecords", Fault::DropRequest, 1);
        assert_eq!(faults.next("Kinesis.ListShards"), None);
        let met: Vec<_> = (0..4).map(|_| faults.next("Kinesis.GetRecords")).collect();
        let expected = [
            Some(Fault::Throttle),
            Some(Fault::Throttle),
            Some(Fault::DropRequest),
            None,
        ];
        assert_eq!(met, expected);
    }

    #[test]
    fn a_permanent_fault_lasts_until_it_is_cleared() {
        let faults = Faults::default();
        faults.add_permanent("function.f", Fault::InternalFailure);
        assert!((0..10).all(|_| faults.next("function.f") == Some(Fault::InternalFailure)));
        faults.clear("function.f");
        assert_eq!(faults.next("function.f"), None);
    }
}
