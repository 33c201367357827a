//! Documents in a bucket: their objects are listed and read, put into order, and read again when it
//! is their turn, since each may have an event.

use std::sync::Arc;

use windlass_core::redrive::FailureDocument;

use super::Ended;
use super::documents::{Documents, Entry, Origin, repeat};
use super::run::{RedriveReport, Run};
use crate::ports::{DocumentBucket, chain};

/// Documents that are put into order together.
const MAX_DOCUMENTS: usize = 10_000;

/// Redrives the documents whose keys have a prefix.
pub(super) async fn redrive(run: &mut Run<'_>, bucket: &str, prefix: &str) -> Result<(), Ended> {
    let bucket = match run.redriver.adapters.bucket(bucket) {
        Ok(bucket) => bucket,
        Err(error) => return run.refuse(chain(&error)).await,
    };
    let mut after: Option<String> = None;
    loop {
        let mut entries = Vec::new();
        let mut is_last = false;
        while !is_last && entries.len() < MAX_DOCUMENTS {
            let keys = repeat(run.caller, || bucket.keys(prefix, after.as_deref()));
            let keys = match keys.await? {
                Ok(keys) => keys,
                Err(error) => return run.refuse(chain(&error)).await,
            };
            is_last = keys.is_empty();
            for key in &keys {
                match entry(run, &bucket, key).await? {
                    Ok(entry) => entries.push(entry),
                    Err(reason) => {
                        let report = RedriveReport {
                            reason: Some(format!("object {key}: {reason}")),
                            ..RedriveReport::default()
                        };
                        run.report(report).await?;
                    }
                }
            }
            after = keys.into_iter().last().or(after);
        }
        Documents::new(run).await?.redrive(entries).await?;
        if is_last {
            return Ok(());
        }
    }
}

async fn entry(
    run: &Run<'_>,
    bucket: &Arc<dyn DocumentBucket>,
    key: &str,
) -> Result<Result<Entry, String>, Ended> {
    let text = match repeat(run.caller, || bucket.get(key)).await? {
        Ok(text) => text,
        Err(error) => return Ok(Err(chain(&error))),
    };
    Ok(match FailureDocument::parse(&text) {
        Ok(mut document) => {
            let has_payload = document.payload.take().is_some();
            let (bucket, key) = (Arc::clone(bucket), key.to_owned());
            Ok(Entry {
                document,
                origin: Origin::Object {
                    bucket,
                    key,
                    has_payload,
                },
            })
        }
        Err(error) => Err(error.to_string()),
    })
}
