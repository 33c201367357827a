//! The adapter factory of tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use windlass_core::arn::Arn;
use windlass_core::mapping::{MappingId, QueueSource, StreamSource};
use windlass_core::outcome::Fault;
use windlass_core::replay::ReplayName;
use windlass_engine::ports::{
    AdapterFactory, Destination, DocumentBucket, PortError, QueueReader, QueueSender, StreamReader,
    Target,
};

use windlass_engine::requests::QueueRequests;

use super::{FakeBucket, FakeDestination, FakeFunction, FakeQueue, FakeStream, failed, lock};

/// Fake sources, functions and destinations by the last part of their ARNs.
#[derive(Debug, Default)]
pub struct FakeAdapters {
    streams: Mutex<BTreeMap<String, Arc<FakeStream>>>,
    queues: Mutex<BTreeMap<String, Arc<FakeQueue>>>,
    functions: Mutex<BTreeMap<String, Arc<FakeFunction>>>,
    destinations: Mutex<BTreeMap<String, Arc<FakeDestination>>>,
    buckets: Mutex<BTreeMap<String, Arc<FakeBucket>>>,
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

    pub fn bucket(&self, name: &str) -> Arc<FakeBucket> {
        add(&self.buckets, name, FakeBucket::default())
    }

    pub fn destination(&self, name: &str) -> Arc<FakeDestination> {
        add(&self.destinations, name, FakeDestination::default())
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

    fn queue(
        &self,
        source: &QueueSource,
        requests: Arc<QueueRequests>,
    ) -> Result<Arc<dyn QueueReader>, PortError> {
        let queue = find(&self.queues, &source.arn)?;
        queue.count(requests);
        Ok(queue)
    }

    fn target(&self, function: &Arn) -> Result<Arc<dyn Target>, PortError> {
        Ok(find(&self.functions, function)?)
    }

    fn is_configured(&self, function: &Arn) -> bool {
        find(&self.functions, function).is_ok()
    }

    fn bucket(&self, name: &str) -> Result<Arc<dyn DocumentBucket>, PortError> {
        let arn = format!("arn:aws:s3:::{name}");
        let arn = Arn::parse(&arn).map_err(|_| failed("looking for a bucket", Fault::Gone))?;
        Ok(find(&self.buckets, &arn)?)
    }

    fn sender(&self, queue: &Arn) -> Result<Arc<dyn QueueSender>, PortError> {
        Ok(find(&self.queues, queue)?)
    }

    fn destination(
        &self,
        _mapping: &MappingId,
        _replay: Option<&ReplayName>,
        source: &StreamSource,
        _function: &Arn,
    ) -> Result<Option<Arc<dyn Destination>>, PortError> {
        let Some(destination) = &source.settings.on_failure else {
            return Ok(None);
        };
        Ok(Some(find(&self.destinations, destination.arn())?))
    }
}
