//! Scans a JSON text once for all filters.
//!
//! Values that no filter needs are skipped, and no document is built. Of members with the same name
//! in one object the first counts.

use super::array_consistency::ElementId;
use super::match_state::MatchState;
use crate::compiled::filters::CompiledFilters;
use crate::compiled::path_tree::NodeId;
use crate::json::error::NotJson;
use crate::json::leaf::Leaf;
use crate::json::reader::{MAX_DEPTH, RawString, Reader};
use crate::json::string::unescape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanOutcome {
    /// The text is valid JSON, and everything in it that matters was evaluated.
    Complete(Shape),
    /// The result was known before the end.
    Decided,
}

/// The type of a text's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Array,
    Scalar,
}

/// Memory that the scanner reuses from text to text.
#[derive(Debug, Default)]
pub(super) struct ScanBuffers {
    open: Vec<OpenContainer>,
    /// The nodes of those members of the open objects that the tree contains.
    seen: Vec<NodeId>,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// An object or array that is being scanned.
#[derive(Clone, Copy, Debug)]
struct OpenContainer {
    kind: ContainerKind,
    node: NodeId,
    /// The array element that contains its values.
    element: ElementId,
    /// Index of its first member in `seen`.
    seen_from: usize,
}

#[derive(Clone, Copy, Debug)]
enum ContainerKind {
    Object,
    /// With the number of the array.
    Array(u32),
}

/// The value to scan next.
#[derive(Clone, Copy)]
struct NextValue {
    /// `None` if no filter needs it.
    node: Option<NodeId>,
    element: ElementId,
    /// The array that it is an element of.
    array: Option<u32>,
}

/// One scan of one text.
pub(super) struct Scanner<'s> {
    reader: Reader<'s>,
    root: NodeId,
    filters: &'s CompiledFilters,
    state: &'s mut MatchState,
    buffers: &'s mut ScanBuffers,
}

impl<'s> Scanner<'s> {
    /// `root` is the node of the text's value.
    pub(super) fn new(
        text: &'s [u8],
        root: NodeId,
        filters: &'s CompiledFilters,
        state: &'s mut MatchState,
        buffers: &'s mut ScanBuffers,
    ) -> Self {
        buffers.open.clear();
        buffers.seen.clear();
        Self {
            reader: Reader::new(text),
            root,
            filters,
            state,
            buffers,
        }
    }

    /// Scans to the end, or until the result is known. A `trusted` text is known to be valid JSON, so
    /// a certain match ends the scan.
    pub(super) fn run(mut self, trusted: bool) -> Result<ScanOutcome, NotJson> {
        let shape = match self.reader.peek() {
            b'{' => Shape::Object,
            b'[' => Shape::Array,
            _ => Shape::Scalar,
        };
        let mut next = NextValue {
            node: Some(self.root),
            element: ElementId::NONE,
            array: None,
        };
        loop {
            if let Some(inner) = self.value(next)? {
                next = inner;
                continue;
            }
            if self.state.is_decided(trusted) {
                return Ok(ScanOutcome::Decided);
            }
            match self.following()? {
                Some(following) => next = following,
                None => break,
            }
        }
        self.reader.end()?;
        Ok(ScanOutcome::Complete(shape))
    }

    /// Consumes a value. If a filter needs values inside it, only enters it and returns the first of
    /// them.
    fn value(&mut self, next: NextValue) -> Result<Option<NextValue>, NotJson> {
        let Some(node) = next.node else {
            self.reader.skip(self.buffers.open.len())?;
            return Ok(None);
        };
        match self.reader.peek() {
            b'"' => self.string(node, next.element)?,
            open @ (b'{' | b'[') => return self.enter(open, node, next),
            _ => {
                let leaf = self.reader.scalar()?;
                let is_only = self.is_only(node);
                self.state
                    .add_leaf(self.filters, node, next.element, leaf, is_only);
            }
        }
        Ok(None)
    }

    /// The element or member after a value; `None` at the end of the text.
    fn following(&mut self) -> Result<Option<NextValue>, NotJson> {
        while let Some(container) = self.buffers.open.last().copied() {
            match (self.reader.token()?, container.kind) {
                (b',', _) => return self.next_in(container).map(Some),
                (b'}', ContainerKind::Object) => {}
                (b']', ContainerKind::Array(array)) => self.state.end_array(array),
                _ => return Err(NotJson),
            }
            self.buffers.seen.truncate(container.seen_from);
            self.buffers.open.pop();
        }
        Ok(None)
    }

    fn enter(
        &mut self,
        open: u8,
        node: NodeId,
        next: NextValue,
    ) -> Result<Option<NextValue>, NotJson> {
        let is_object = open == b'{';
        self.state.add_container(node, is_object);
        if is_object && !self.filters.tree.has_children(node) {
            self.reader.skip(self.buffers.open.len())?;
            return Ok(None);
        }
        self.reader.token()?;
        if self.reader.take_empty(open) {
            return Ok(None);
        }
        if MAX_DEPTH <= self.buffers.open.len() {
            return Err(NotJson);
        }
        let element = match next.array {
            Some(array) => self.state.begin_element(array, next.element),
            None => next.element,
        };
        let kind = if is_object {
            ContainerKind::Object
        } else {
            ContainerKind::Array(self.state.begin_array())
        };
        let container = OpenContainer {
            kind,
            node,
            element,
            seen_from: self.buffers.seen.len(),
        };
        self.buffers.open.push(container);
        self.next_in(container).map(Some)
    }

    /// The member or element of a container that begins here.
    fn next_in(&mut self, container: OpenContainer) -> Result<NextValue, NotJson> {
        let (node, array) = match container.kind {
            ContainerKind::Object => (self.member(container)?, None),
            ContainerKind::Array(array) => (Some(container.node), Some(array)),
        };
        Ok(NextValue {
            node,
            element: container.element,
            array,
        })
    }

    /// Consumes a member's name and returns its node, if a filter needs its value.
    fn member(&mut self, object: OpenContainer) -> Result<Option<NodeId>, NotJson> {
        let name = self.reader.name()?;
        if self.state.is_match_certain() {
            name.check()?;
            return Ok(None);
        }
        let name = unescaped(name, &mut self.buffers.name)?;
        let Some(node) = self.filters.tree.find(object.node, name) else {
            return Ok(None);
        };
        if self.buffers.seen[object.seen_from..].contains(&node) {
            return Ok(None);
        }
        self.buffers.seen.push(node);
        Ok(Some(node))
    }

    fn string(&mut self, node: NodeId, element: ElementId) -> Result<(), NotJson> {
        let string = self.reader.string()?;
        let is_only = self.is_only(node);
        let leaf = Leaf::String(unescaped(string, &mut self.buffers.value)?);
        self.state
            .add_leaf(self.filters, node, element, leaf, is_only);
        Ok(())
    }

    /// Whether the current value must be the only one with its path. That is certain for members of
    /// the outermost object; at deeper levels, names with dots may spell one path in several ways.
    fn is_only(&self, node: NodeId) -> bool {
        match self.buffers.open.as_slice() {
            [outermost] => {
                let is_object = matches!(outermost.kind, ContainerKind::Object);
                is_object && self.filters.tree.is_child(node, self.root)
            }
            _ => false,
        }
    }
}

/// The string's characters, in `buffer` if it has escapes.
fn unescaped<'t>(string: RawString<'t>, buffer: &'t mut Vec<u8>) -> Result<&'t [u8], NotJson> {
    if string.has_escapes {
        unescape(string.raw, buffer)?;
        Ok(buffer)
    } else {
        Ok(string.raw)
    }
}
