//! The adapters of the mappings that can run.

use std::collections::BTreeMap;
use std::sync::Arc;

use windlass_core::lease::Unit;
use windlass_core::mapping::{
    DesiredState, Mapping, MappingId, MappingRow, QueueSource, Source, StreamSource,
};
use windlass_core::validate;

use crate::ports::{AdapterFactory, PortError, QueueReader, StreamReader, Target, chain};
use crate::run_unit::UnitSource;
use crate::status::StatusBoard;

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
    },
    Queue {
        reader: Arc<dyn QueueReader>,
        source: QueueSource,
    },
}

impl Connections {
    /// Connects the enabled mappings that are new or changed, and drops all that are not enabled.
    /// The board shows why a mapping cannot run.
    pub(super) fn update(
        &mut self,
        rows: &[MappingRow],
        adapters: &dyn AdapterFactory,
        board: &StatusBoard,
    ) {
        let mut previous = std::mem::take(&mut self.0);
        let enabled = rows.iter();
        for row in enabled.filter(|row| row.desired == DesiredState::Enabled) {
            let known = previous.remove(&row.id);
            if let Some(known) = known.filter(|it| it.mapping.revision == row.revision) {
                self.0.insert(row.id.clone(), known);
                continue;
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
    }

    pub(super) fn get(&self, mapping: &MappingId) -> Option<&ConnectedMapping> {
        self.0.get(mapping)
    }

    pub(super) fn contains(&self, mapping: &MappingId) -> bool {
        self.0.contains_key(mapping)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&MappingId, &ConnectedMapping)> {
        self.0.iter()
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
            (Connection::Stream { reader, source }, Unit::Shard(shard)) => {
                Some(UnitSource::Shard {
                    shard: shard.clone(),
                    reader: Arc::clone(reader),
                    source: source.clone(),
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
    fn new(mapping: &Mapping, adapters: &dyn AdapterFactory) -> Result<Self, PortError> {
        Ok(match &mapping.source {
            Source::Stream(source) => Self::Stream {
                reader: adapters.stream(source, &mapping.function)?,
                source: source.clone(),
            },
            Source::Queue(source) => Self::Queue {
                reader: adapters.queue(source)?,
                source: source.clone(),
            },
        })
    }
}
