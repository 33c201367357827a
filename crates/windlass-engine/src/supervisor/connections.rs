//! The adapters of the mappings that can run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use windlass_core::lease::Unit;
use windlass_core::mapping::{
    DesiredState, Mapping, MappingId, MappingRow, QueueSource, Source, StreamSource,
};
use windlass_core::validate;

use super::bounded_reader::BoundedReader;
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
        match ConnectedMapping::new(row, adapters) {
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
    fn new(row: &MappingRow, adapters: &dyn AdapterFactory) -> Result<Self, String> {
        let mapping = validate::mapping(row).map_err(|violations| {
            let violations = violations.iter().map(ToString::to_string);
            violations.collect::<Vec<_>>().join("; ")
        })?;
        let connect = || {
            let connection = Connection::new(&mapping, adapters)?;
            Ok((connection, adapters.target(&mapping.function)?))
        };
        let (connection, target) = connect().map_err(|error: PortError| chain(&error))?;
        Ok(Self {
            mapping,
            connection,
            target,
        })
    }

    /// `None` if the mapping's source has no such unit.
    pub(super) fn unit(&self, unit: &Unit) -> Option<UnitSource> {
        match (&self.connection, unit) {
            (
                Connection::Stream {
                    reader,
                    source,
                    destination,
                },
                Unit::Shard(shard),
            ) => Some(UnitSource::Shard {
                shard: shard.clone(),
                reader: Arc::clone(reader),
                source: source.clone(),
                destination: destination.clone(),
            }),
            (Connection::Queue { reader, source }, Unit::QueueSlot(_)) => Some(UnitSource::Queue {
                reader: Arc::clone(reader),
                source: source.clone(),
            }),
            (Connection::Stream { .. } | Connection::Queue { .. }, _) => None,
        }
    }
}

impl Connection {
    fn new(mapping: &Mapping, adapters: &dyn AdapterFactory) -> Result<Self, PortError> {
        Ok(match &mapping.source {
            Source::Stream(source) => Self::Stream {
                reader: Arc::new(BoundedReader::new(
                    adapters.stream(source, &mapping.function)?,
                )),
                source: source.clone(),
                destination: adapters.destination(&mapping.id, source, &mapping.function)?,
            },
            Source::Queue(source) => Self::Queue {
                reader: adapters.queue(source)?,
                source: source.clone(),
            },
        })
    }
}
