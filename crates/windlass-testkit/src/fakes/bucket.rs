//! A bucket whose objects the test puts.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use windlass_core::outcome::Fault;
use windlass_engine::ports::{DocumentBucket, PortError};

use super::{failed, lock};

/// Keys of one page.
const PAGE: usize = 2;

#[derive(Debug, Default)]
pub struct FakeBucket(Mutex<BTreeMap<String, Bytes>>);

impl FakeBucket {
    pub fn put(&self, key: &str, object: impl Into<Bytes>) {
        lock(&self.0).insert(key.to_owned(), object.into());
    }

    pub fn all_keys(&self) -> Vec<String> {
        lock(&self.0).keys().cloned().collect()
    }
}

#[async_trait]
impl DocumentBucket for FakeBucket {
    async fn keys(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, PortError> {
        let objects = lock(&self.0);
        let keys = objects.keys().filter(|key| key.starts_with(prefix));
        let keys = keys.filter(|key| after.is_none_or(|after| after < key.as_str()));
        Ok(keys.take(PAGE).cloned().collect())
    }

    async fn get(&self, key: &str) -> Result<Bytes, PortError> {
        let object = lock(&self.0).get(key).cloned();
        object.ok_or_else(|| failed("GetObject", Fault::Gone))
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        lock(&self.0).remove(key);
        Ok(())
    }
}
