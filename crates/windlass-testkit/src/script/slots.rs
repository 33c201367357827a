//! Scripts about invocation slots: which request is granted when.
//!
//! ```text
//! daemon LIMIT                          starts with this many slots
//! function NAME [limit=N]               adds a function, or changes its limit
//! mapping NAME function=NAME [limit=N]  adds a mapping, or changes its limit
//! request NAME [N]                      N requests of a mapping, by default one: NAME1, NAME2 …
//! end REQUEST…                          cancels requests that wait, and releases slots
//! remove NAME                           removes a mapping
//! room NAME                             how many requests of a mapping would be granted at once
//! ```
//!
//! After each block the output shows the grants, and which requests wait for which limit.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use goldenscript::{Command, Context, Runner};
use windlass_core::slots::{FunctionKey, MappingKey, SlotArbiter, SlotId, SlotLimit};

use super::{Arguments, ScriptError};

/// Runs one script.
#[derive(Debug, Default)]
pub struct SlotsRunner {
    arbiter: Option<SlotArbiter>,
    functions: BTreeMap<String, FunctionKey>,
    mappings: BTreeMap<String, MappingKey>,
    n_requests: BTreeMap<String, usize>,
    /// The requests that have not ended.
    requests: BTreeMap<SlotId, Request>,
}

#[derive(Debug)]
struct Request {
    name: String,
    mapping: MappingKey,
    is_granted: bool,
}

impl Runner for SlotsRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, ScriptError> {
        let mut arguments = Arguments::of(command);
        if command.name == "daemon" {
            *self = Self::default();
            self.arbiter = Some(SlotArbiter::new(arguments.number_word()?));
        } else {
            let room = self.call(&command.name, &mut arguments)?;
            if let Some(room) = room {
                return Ok(room);
            }
        }
        arguments.none_left()?;
        self.show()
    }
}

impl SlotsRunner {
    /// Returns the output of a question.
    fn call(
        &mut self,
        command: &str,
        arguments: &mut Arguments,
    ) -> Result<Option<String>, ScriptError> {
        let missing = "a script starts with `daemon`";
        let arbiter = self.arbiter.as_mut().ok_or(missing)?;
        let next = FunctionKey(self.functions.len() as u64);
        match command {
            "function" => {
                let key = *self.functions.entry(arguments.word()?).or_insert(next);
                arbiter.set_function(key, limit(arguments)?);
            }
            "mapping" => {
                let function = arguments
                    .key("function")
                    .ok_or("a mapping has a function")?;
                let function = *self.functions.get(&function).ok_or("no such function")?;
                let next = MappingKey(self.mappings.len() as u64);
                let key = *self.mappings.entry(arguments.word()?).or_insert(next);
                arbiter.set_mapping(key, function, limit(arguments)?);
            }
            "end" => {
                while let Ok(name) = arguments.word() {
                    let mut requests = self.requests.iter();
                    let id = requests.find(|(_, it)| it.name == name).map(|(id, _)| *id);
                    let id = id.ok_or_else(|| format!("{name} has ended or was never made"))?;
                    self.requests.remove(&id);
                    arbiter.end(id);
                }
            }
            _ => {
                let name = arguments.word()?;
                let mapping = *self.mappings.get(&name).ok_or("no such mapping")?;
                match command {
                    "request" => {
                        let n_requests = arguments.number_word().unwrap_or(1);
                        self.request(&name, mapping, n_requests)?;
                    }
                    "remove" => arbiter.remove_mapping(mapping),
                    "room" => return Ok(Some(format!("{}\n", arbiter.room(mapping)))),
                    _ => return Err(format!("unknown command {command:?}").into()),
                }
            }
        }
        Ok(None)
    }

    fn request(
        &mut self,
        name: &str,
        mapping: MappingKey,
        n_requests: usize,
    ) -> Result<(), ScriptError> {
        let arbiter = self.arbiter.as_mut().ok_or("no daemon")?;
        for _ in 0..n_requests {
            let number = self.n_requests.entry(name.to_owned()).or_default();
            *number += 1;
            let request = Request {
                name: format!("{name}{number}"),
                mapping,
                is_granted: false,
            };
            self.requests.insert(arbiter.request(mapping), request);
        }
        Ok(())
    }

    fn show(&mut self) -> Result<String, ScriptError> {
        let arbiter = self.arbiter.as_mut().ok_or("no daemon")?;
        let mut granted = Vec::new();
        while let Some(id) = arbiter.poll_grant() {
            let request = self.requests.get_mut(&id).ok_or("granted after its end")?;
            request.is_granted = true;
            granted.push(request.name.clone());
        }
        let mut output = String::new();
        if !granted.is_empty() {
            writeln!(output, "granted {}", granted.join(" "))?;
        }
        let limits = [
            (SlotLimit::Daemon, "daemon"),
            (SlotLimit::Function, "function"),
            (SlotLimit::Mapping, "mapping"),
        ];
        for (limit, name) in limits {
            let waiting = self.requests.values().filter(|it| !it.is_granted);
            let waiting = waiting.filter(|it| arbiter.limit_reached(it.mapping) == limit);
            let waiting: Vec<_> = waiting.map(|it| it.name.as_str()).collect();
            if !waiting.is_empty() {
                writeln!(output, "waiting for the {name}: {}", waiting.join(" "))?;
            }
        }
        Ok(output)
    }
}

fn limit(arguments: &mut Arguments) -> Result<Option<usize>, ScriptError> {
    let limit = arguments.key("limit").map(|text| text.parse());
    Ok(limit.transpose()?)
}
