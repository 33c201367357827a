//! The adapters of the mappings that can run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use windlass_core::lease::Unit;
use windlass_core::mapping::{
    DesiredState, Mapping, MappingId, MappingRow, QueueSource, Source, StreamSource,
};
use windlass_core::shard::stream_check::StreamCheck;
use windlass_core::validate;

use super::absent_shards::KnownListings;
use super::shard_reader::{ReadPermits, SupervisedReader};
use crate::clock::Clock;
use crate::ports::{
    AdapterFactory, Destination, PortError, QueueReader, StreamReader, Target, chain,
};
use crate::run_unit::UnitSource;
use crate::status::StatusBoard;

/// The time that all targets together have to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Connections(BTreeMap<MappingId, ConnectedMapping>);

/// A mapping with its adapters, which all its units share.
pub(super) struct ConnectedMapping {
    pub(super) mapping: Mapping,
    pub(super) connection: Connection,
    pub(super) target: Arc<dyn Target>,
}

pub(super) enum Connection {
    Stream {
        reader: Arc<dyn StreamReader>,
        permits: ReadPermits,
        source: StreamSource,
        /// For records that are given up.
        destination: Option<Arc<dyn Destination>>,
    },
    Queue {
        reader: Arc<dyn QueueReader>,
        source: QueueSource,
    },
}

impl Connections {
    /// Connects an enabled mapping if it is new or changed, and drops one that is not enabled. The
    /// board shows why a mapping cannot run.
    pub(super) fn update(
        &mut self,
        row: &MappingRow,
        adapters: &dyn AdapterFactory,
        board: &StatusBoard,
    ) {
        let known = self.0.remove(&row.id);
        if row.desired != DesiredState::Enabled {
            return;
        }
        if let Some(known) = known.filter(|it| it.mapping.revision == row.revision) {
            self.0.insert(row.id.clone(), known);
            return;
        }
        match ConnectedMapping::new(row, adapters, board) {
            Ok(connected) => {
                board.problem(&row.id, None);
                self.0.insert(row.id.clone(), connected);
            }
            Err(problem) => {
                tracing::error!(uuid = %row.id, problem, "mapping cannot run");
                board.problem(&row.id, Some(problem));
            }
        }
    }

    /// Closes the targets of all mappings. Nothing may be invoked any more.
    pub(super) async fn close_targets(&self) {
        let mut targets: Vec<&Arc<dyn Target>> = Vec::new();
        for connected in self.0.values() {
            if !targets.iter().any(|it| Arc::ptr_eq(it, &connected.target)) {
                targets.push(&connected.target);
            }
        }
        let closed = join_all(targets.into_iter().map(|target| target.close()));
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("functions have not closed within {CLOSE_TIMEOUT:?}");
        }
    }

    pub(super) fn get(&self, mapping: &MappingId) -> Option<&ConnectedMapping> {
        self.0.get(mapping)
    }

    pub(super) fn remove(&mut self, mapping: &MappingId) {
        self.0.remove(mapping);
    }
}

impl ConnectedMapping {
    fn new(
        row: &MappingRow,
        adapters: &dyn AdapterFactory,
        board: &StatusBoard,
    ) -> Result<Self, String> {
        let mapping = validate::mapping(row).map_err(|violations| {
            let violations = violations.iter().map(ToString::to_string);
            violations.collect::<Vec<_>>().join("; ")
        })?;
        let connect = || {
            let connection = Connection::new(&mapping, adapters, board)?;
            Ok((connection, adapters.target(&mapping.function)?))
        };
        let (connection, target) = connect().map_err(|error: PortError| chain(&error))?;
        Ok(Self {
            mapping,
            connection,
            target,
        })
    }

    /// Whether the mapping's source has such a unit.
    pub(super) const fn has_unit(&self, unit: &Unit) -> bool {
        match (&self.connection, unit) {
            (Connection::Stream { .. }, Unit::Shard(_))
            | (Connection::Queue { .. }, Unit::QueueSlot(_)) => true,
            (Connection::Stream { .. } | Connection::Queue { .. }, _) => false,
        }
    }

    /// `None` if the mapping's source has no such unit.
    pub(super) fn unit(
        &self,
        unit: &Unit,
        listings: KnownListings,
        clock: Clock,
        board: &Arc<StatusBoard>,
    ) -> Option<UnitSource> {
        match (&self.connection, unit) {
            (
                Connection::Stream {
                    reader,
                    permits,
                    source,
                    destination,
                },
                Unit::Shard(shard),
            ) => {
                let is_polled = source.consumer.is_none();
                Some(UnitSource::Shard {
                    shard: shard.clone(),
                    reader: Box::new(SupervisedReader {
                        inner: Arc::clone(reader).open(shard),
                        shard: shard.clone(),
                        permits: is_polled.then(|| permits.clone()),
                        shown_at: listings.shown_at(shard),
                        listings,
                        check: is_polled.then(StreamCheck::default),
                        clock,
                        board: Arc::clone(board),
                        mapping: self.mapping.id.clone(),
                    }),
                    source: Box::new(source.clone()),
                    destination: destination.clone(),
                })
            }
            (Connection::Queue { reader, source }, Unit::QueueSlot(_)) => Some(UnitSource::Queue {
                reader: Arc::clone(reader),
                source: source.clone(),
            }),
            (Connection::Stream { .. } | Connection::Queue { .. }, _) => None,
        }
    }
}

impl Connection {
    fn new(
        mapping: &Mapping,
        adapters: &dyn AdapterFactory,
        board: &StatusBoard,
    ) -> Result<Self, PortError> {
        Ok(match &mapping.source {
            Source::Stream(source) => Self::Stream {
                reader: adapters.stream(source, &mapping.function)?,
                permits: ReadPermits::default(),
                source: source.clone(),
                destination: adapters.destination(&mapping.id, source, &mapping.function)?,
            },
            Source::Queue(source) => Self::Queue {
                reader: adapters.queue(source, board.requests_of(&mapping.id))?,
                source: source.clone(),
            },
        })
    }
}
