//! Faults by script: what a service does wrong, on which operation, and how many times.
//!
//! An operation is named by its service and itself, as in `Kinesis.GetRecords`; a function by
//! `function.` and its name. Each operation has a queue, and each call takes one fault from it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Something that goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It is refused for being one too many.
    Throttle,
    /// It is answered 500 `InternalFailure`, and not executed.
    InternalFailure,
    /// Its connection ends before it is executed.
    Drop,
    /// It is executed and its connection ends without an answer.
    DropAnswer,
    /// It is executed and its connection ends in the middle of the answer.
    Truncate,
    /// It is refused as if its shard iterator were too old.
    ExpiredIterator,
    /// It is refused with this code of AWS, such as `AccessDeniedException`, and status 400.
    Refuse(String),
}

/// A fault and when it comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Such as `Kinesis.GetRecords`, `SQS.ReceiveMessage`, `DynamoDBStreams.GetRecords` or
    /// `function.orders`.
    pub operation: String,
    /// What goes wrong.
    pub fault: Fault,
    /// For how many calls; without it, for all until the faults are cleared.
    #[serde(default)]
    pub times: Option<u32>,
}

/// The faults to come.
#[derive(Debug, Default)]
pub struct Faults {
    queues: Mutex<BTreeMap<String, VecDeque<Script>>>,
}

impl Faults {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next `times` calls of an operation fail, after those that are to fail already.
    pub fn add(&self, operation: &str, fault: Fault, times: u32) {
        self.script(Script {
            operation: operation.to_owned(),
            fault,
            times: Some(times),
        });
    }

    /// Lets all calls of an operation fail until [`Faults::clear`], after those that are to fail
    /// already.
    pub fn add_lasting(&self, operation: &str, fault: Fault) {
        self.script(Script {
            operation: operation.to_owned(),
            fault,
            times: None,
        });
    }

    /// Adds a fault to its operation's queue.
    pub fn script(&self, script: Script) {
        if script.times != Some(0) {
            let mut queues = self.lock();
            let queue = queues.entry(script.operation.clone()).or_default();
            queue.push_back(script);
        }
    }

    /// Forgets the faults of an operation.
    pub fn clear(&self, operation: &str) {
        self.lock().remove(operation);
    }

    /// Forgets all faults.
    pub fn clear_all(&self) {
        self.lock().clear();
    }

    /// What is still to come, in order for each operation.
    pub fn pending(&self) -> Vec<Script> {
        self.lock().values().flatten().cloned().collect()
    }

    /// The fault of a call that is being made.
    pub(crate) fn take(&self, operation: &str) -> Option<Fault> {
        let mut queues = self.lock();
        let queue = queues.get_mut(operation)?;
        let script = queue.front_mut()?;
        let fault = script.fault.clone();
        if let Some(times) = &mut script.times {
            *times -= 1;
            if *times == 0 {
                queue.pop_front();
            }
        }
        if queue.is_empty() {
            queues.remove(operation);
        }
        Some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Script>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_takes_one_fault_of_its_own_operation_in_order() {
        let faults = Faults::new();
        faults.add("Kinesis.GetRecords", Fault::Throttle, 2);
        faults.add("Kinesis.GetRecords", Fault::Drop, 1);
        assert_eq!(faults.take("Kinesis.ListShards"), None);
        let taken: Vec<_> = (0..4).map(|_| faults.take("Kinesis.GetRecords")).collect();
        let expected = [
            Some(Fault::Throttle),
            Some(Fault::Throttle),
            Some(Fault::Drop),
            None,
        ];
        assert_eq!(taken, expected);
        assert_eq!(faults.pending(), []);
    }

    #[test]
    fn a_lasting_fault_lasts_until_it_is_cleared() {
        let faults = Faults::new();
        faults.add_lasting("function.f", Fault::InternalFailure);
        assert!((0..10).all(|_| faults.take("function.f") == Some(Fault::InternalFailure)));
        faults.clear("function.f");
        assert_eq!(faults.take("function.f"), None);
    }

    #[test]
    fn a_script_is_read_from_json_and_a_misspelt_one_refused() {
        let text = r#"{"operation":"SQS.ReceiveMessage","fault":{"refuse":"OverLimit"},"times":1}"#;
        let script: Script = serde_json::from_str(text).unwrap();
        assert_eq!(script.fault, Fault::Refuse("OverLimit".to_owned()));
        assert!(serde_json::from_str::<Script>(&text.replace("times", "time")).is_err());
    }
}
