//! One walk over a JSON text, for all filters at once.
//!
//! What no filter looks for is passed over, and nothing is built. Of members with one name in one
//! object the first counts.

use super::criteria::Criteria;
use super::elements::ElementId;
use super::findings::Findings;
use super::reader::{DEEPEST, NotJson, RawText, Reader};
use super::text::unescape;
use super::tree::NodeId;
use super::value::Leaf;

/// How a walk has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walked {
    /// The text is JSON, and everything in it was seen that matters.
    Whole(Shape),
    /// The answer was known before the end.
    Decided,
}

/// What kind of value a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    List,
    Scalar,
}

/// What the walker needs room for; kept from text to text.
#[derive(Debug, Default)]
pub(super) struct Room {
    open: Vec<Open>,
    /// The members of the open objects that were found in the tree.
    seen: Vec<NodeId>,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// An object or list whose end has not come, and in which something is looked for.
#[derive(Clone, Copy, Debug)]
struct Open {
    kind: Kind,
    node: NodeId,
    /// Of which element of a list its values are part.
    element: ElementId,
    /// Where its members begin in `seen`.
    seen_from: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Object,
    /// With the number of the list.
    List(u32),
}

/// The value that comes.
#[derive(Clone, Copy)]
struct Coming {
    /// What filters look for in it; `None`: nothing.
    node: Option<NodeId>,
    element: ElementId,
    /// The list of which it is an element itself.
    list: Option<u32>,
}

/// A walk under way.
pub(super) struct Walk<'w> {
    reader: Reader<'w>,
    root: NodeId,
    criteria: &'w Criteria,
    findings: &'w mut Findings,
    room: &'w mut Room,
}

impl<'w> Walk<'w> {
    /// A walk over a text, in which `root` is the place of its value.
    pub(super) fn new(
        text: &'w [u8],
        root: NodeId,
        criteria: &'w Criteria,
        findings: &'w mut Findings,
        room: &'w mut Room,
    ) -> Self {
        room.open.clear();
        room.seen.clear();
        Self {
            reader: Reader::new(text),
            root,
            criteria,
            findings,
            room,
        }
    }

    /// Walks to the end, or until the answer is known. With `trusted` the text is known to be JSON,
    /// so that the end need not be seen.
    pub(super) fn run(mut self, trusted: bool) -> Result<Walked, NotJson> {
        let shape = match self.reader.peek() {
            b'{' => Shape::Object,
            b'[' => Shape::List,
            _ => Shape::Scalar,
        };
        let mut coming = Coming {
            node: Some(self.root),
            element: ElementId::NONE,
            list: None,
        };
        loop {
            if let Some(inner) = self.value(coming)? {
                coming = inner;
                continue;
            }
            if self.findings.is_decided(trusted) {
                return Ok(Walked::Decided);
            }
            match self.next()? {
                Some(next) => coming = next,
                None => break,
            }
        }
        self.reader.end()?;
        Ok(Walked::Whole(shape))
    }

    /// Passes over a value, or opens it if there is something in it to be looked for; then gives
    /// what comes first in it.
    fn value(&mut self, coming: Coming) -> Result<Option<Coming>, NotJson> {
        let Some(node) = coming.node else {
            self.reader.skip(self.room.open.len())?;
            return Ok(None);
        };
        match self.reader.peek() {
            b'"' => self.text(node, coming.element)?,
            open @ (b'{' | b'[') => return self.open(open, node, coming),
            _ => {
                let leaf = self.reader.scalar()?;
                let direct = self.is_direct(node);
                self.findings
                    .leaf(self.criteria, node, coming.element, leaf, direct);
            }
        }
        Ok(None)
    }

    /// What comes behind a value: the next element or member, or `None` at the end of everything.
    fn next(&mut self) -> Result<Option<Coming>, NotJson> {
        while let Some(open) = self.room.open.last().copied() {
            match (self.reader.token()?, open.kind) {
                (b',', _) => return self.first_of(open).map(Some),
                (b'}', Kind::Object) => {}
                (b']', Kind::List(list)) => self.findings.end_list(list),
                _ => return Err(NotJson),
            }
            self.room.seen.truncate(open.seen_from);
            self.room.open.pop();
        }
        Ok(None)
    }

    fn open(&mut self, open: u8, node: NodeId, coming: Coming) -> Result<Option<Coming>, NotJson> {
        let object = open == b'{';
        self.findings.container(node, object);
        if object && !self.criteria.tree.has_children(node) {
            self.reader.skip(self.room.open.len())?;
            return Ok(None);
        }
        self.reader.token()?;
        if self.reader.closes(open) {
            return Ok(None);
        }
        if DEEPEST <= self.room.open.len() {
            return Err(NotJson);
        }
        let element = match coming.list {
            Some(list) => self.findings.element(list, coming.element),
            None => coming.element,
        };
        let kind = if object {
            Kind::Object
        } else {
            Kind::List(self.findings.list())
        };
        let open = Open {
            kind,
            node,
            element,
            seen_from: self.room.seen.len(),
        };
        self.room.open.push(open);
        self.first_of(open).map(Some)
    }

    /// What comes where an object or list has a member or element.
    fn first_of(&mut self, open: Open) -> Result<Coming, NotJson> {
        let (node, list) = match open.kind {
            Kind::Object => (self.member(open)?, None),
            Kind::List(list) => (Some(open.node), Some(list)),
        };
        Ok(Coming {
            node,
            element: open.element,
            list,
        })
    }

    /// Passes over a member's name; gives its place in the tree.
    fn member(&mut self, open: Open) -> Result<Option<NodeId>, NotJson> {
        let name = self.reader.name()?;
        if self.findings.is_sure() {
            name.check()?;
            return Ok(None);
        }
        let name = plain(name, &mut self.room.name)?;
        let Some(node) = self.criteria.tree.find(open.node, name) else {
            return Ok(None);
        };
        if self.room.seen[open.seen_from..].contains(&node) {
            return Ok(None);
        }
        self.room.seen.push(node);
        Ok(Some(node))
    }

    fn text(&mut self, node: NodeId, element: ElementId) -> Result<(), NotJson> {
        let text = self.reader.string()?;
        let direct = self.is_direct(node);
        let leaf = Leaf::Text(plain(text, &mut self.room.value)?);
        self.findings
            .leaf(self.criteria, node, element, leaf, direct);
        Ok(())
    }

    /// Whether a value is a member of the outermost object, and so the only one of its path: below
    /// that, dots in a name can lead to one path in several ways.
    fn is_direct(&self, node: NodeId) -> bool {
        match self.room.open.as_slice() {
            [outermost] => {
                let object = matches!(outermost.kind, Kind::Object);
                object && self.criteria.tree.is_child(node, self.root)
            }
            _ => false,
        }
    }
}

/// The text that a string stands for; `room` holds it if it is not that of the string itself.
fn plain<'t>(text: RawText<'t>, room: &'t mut Vec<u8>) -> Result<&'t [u8], NotJson> {
    if text.escapes {
        unescape(text.raw, room)?;
        Ok(room)
    } else {
        Ok(text.raw)
    }
}
