//! Where fake sources and functions are found.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use windlass_core::arn::Arn;
use windlass_core::mapping::{QueueSource, StreamSource};
use windlass_core::outcome::Fault;
use windlass_engine::ports::{AdapterFactory, PortError, QueueReader, StreamReader, Target};

use super::{FakeFunction, FakeQueue, FakeStream, failed, lock};

/// Sources and functions by the last part of their ARNs.
#[derive(Debug, Default)]
pub struct FakeAdapters {
    streams: Mutex<BTreeMap<String, Arc<FakeStream>>>,
    queues: Mutex<BTreeMap<String, Arc<FakeQueue>>>,
    functions: Mutex<BTreeMap<String, Arc<FakeFunction>>>,
}

impl FakeAdapters {
    /// Adds a stream.
    pub fn stream(&self, name: &str, stream: FakeStream) -> Arc<FakeStream> {
        add(&self.streams, name, stream)
    }

    /// Adds a queue.
    pub fn queue(&self, name: &str, queue: FakeQueue) -> Arc<FakeQueue> {
        add(&self.queues, name, queue)
    }

    /// Adds a function.
    pub fn function(&self, name: &str) -> Arc<FakeFunction> {
        add(&self.functions, name, FakeFunction::default())
    }
}

fn add<T>(places: &Mutex<BTreeMap<String, Arc<T>>>, name: &str, place: T) -> Arc<T> {
    let place = Arc::new(place);
    lock(places).insert(name.to_owned(), Arc::clone(&place));
    place
}

fn find<T>(places: &Mutex<BTreeMap<String, Arc<T>>>, arn: &Arn) -> Result<Arc<T>, PortError> {
    let name = arn.as_str().rsplit([':', '/']).next().unwrap_or_default();
    let place = lock(places).get(name).cloned();
    place.ok_or_else(|| failed(&format!("looking for {arn}"), Fault::Gone))
}

impl AdapterFactory for FakeAdapters {
    fn stream(
        &self,
        source: &StreamSource,
        _function: &Arn,
    ) -> Result<Arc<dyn StreamReader>, PortError> {
        Ok(find(&self.streams, &source.arn)?)
    }

    fn queue(&self, source: &QueueSource) -> Result<Arc<dyn QueueReader>, PortError> {
        Ok(find(&self.queues, &source.arn)?)
    }

    fn target(&self, function: &Arn) -> Result<Arc<dyn Target>, PortError> {
        Ok(find(&self.functions, function)?)
    }
}
