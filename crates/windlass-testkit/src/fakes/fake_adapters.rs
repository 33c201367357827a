//! The adapter factory of tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use windlass_core::arn::Arn;
use windlass_core::mapping::{QueueSource, StreamSource};
use windlass_core::outcome::Fault;
use windlass_engine::ports::{AdapterFactory, PortError, QueueReader, StreamReader, Target};

use super::{FakeFunction, FakeQueue, FakeStream, failed, lock};

/// Fake sources and functions by the last part of their ARNs.
#[derive(Debug, Default)]
pub struct FakeAdapters {
    streams: Mutex<BTreeMap<String, Arc<FakeStream>>>,
    queues: Mutex<BTreeMap<String, Arc<FakeQueue>>>,
    functions: Mutex<BTreeMap<String, Arc<FakeFunction>>>,
}

impl FakeAdapters {
    pub fn stream(&self, name: &str, stream: FakeStream) -> Arc<FakeStream> {
        add(&self.streams, name, stream)
    }

    pub fn queue(&self, name: &str, queue: FakeQueue) -> Arc<FakeQueue> {
        add(&self.queues, name, queue)
    }

    pub fn function(&self, name: &str) -> Arc<FakeFunction> {
        add(&self.functions, name, FakeFunction::default())
    }
}

fn add<T>(fakes: &Mutex<BTreeMap<String, Arc<T>>>, name: &str, fake: T) -> Arc<T> {
    let fake = Arc::new(fake);
    lock(fakes).insert(name.to_owned(), Arc::clone(&fake));
    fake
}

fn find<T>(fakes: &Mutex<BTreeMap<String, Arc<T>>>, arn: &Arn) -> Result<Arc<T>, PortError> {
    let name = arn.as_str().rsplit([':', '/']).next().unwrap_or_default();
    let fake = lock(fakes).get(name).cloned();
    fake.ok_or_else(|| failed(&format!("looking for {arn}"), Fault::Gone))
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
