//! One walk over a JSON text, for all filters at once.
//!
//! What no filter looks for is passed over, token by token, and nothing is built. The text is
//! checked on the way, since a filter for data that is not JSON drops what is not JSON: a walk that
//! comes to the end has seen a JSON text. Of members with one name in one object the first counts.

use super::criteria::Criteria;
use super::elements::ElementId;
use super::findings::Findings;
use super::number::is_number;
use super::text::{check_escapes, unescape};
use super::tokens::Tokens;
use super::tree::NodeId;
use super::value::Leaf;

/// Deeper texts are refused, as AWS's parser does.
///
/// <https://github.com/FasterXML/jackson-core/wiki/Releases-2.15>
const DEEPEST: usize = 1_000;

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// How a walk has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walked {
    /// The text is JSON, and everything in it was seen.
    Whole {
        /// Whether it is an object or a list.
        container: bool,
    },
    /// The answer was known before the end.
    Decided,
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

/// An object or list whose end has not come.
#[derive(Clone, Copy, Debug)]
struct Open {
    kind: Kind,
    /// What filters look for in it; `None`: nothing.
    node: Option<NodeId>,
    /// Of which element of a list its values are part.
    element: ElementId,
    /// Where its members begin in `seen`.
    seen_from: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Object,
    /// With the number of the list, if anything is looked for in it.
    List(Option<u32>),
}

/// The value that comes.
#[derive(Clone, Copy)]
struct Coming {
    node: Option<NodeId>,
    element: ElementId,
    /// The list of which it is an element itself.
    list: Option<u32>,
}

/// A walk under way.
pub(super) struct Walk<'w> {
    text: &'w [u8],
    tokens: Tokens<'w>,
    /// Behind what was walked over.
    at: usize,
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
            text,
            tokens: Tokens::new(text),
            at: 0,
            root,
            criteria,
            findings,
            room,
        }
    }

    /// Walks to the end, or until the answer is known. With `trusted` the text is known to be JSON,
    /// so that the end need not be seen.
    pub(super) fn run(mut self, trusted: bool) -> Result<Walked, NotJson> {
        let mut coming = Coming {
            node: Some(self.root),
            element: ElementId::NONE,
            list: None,
        };
        let container = matches!(self.text.get(self.tokens.peek()), Some(b'{' | b'['));
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
        let rest_is_blank = self.text[self.at..].iter().all(is_space);
        let valid = rest_is_blank
            && !self.tokens.has_control()
            && (trusted || std::str::from_utf8(self.text).is_ok());
        if valid {
            Ok(Walked::Whole { container })
        } else {
            Err(NotJson)
        }
    }

    /// Passes over a value, or opens it if there is something in it; gives what comes first in it.
    fn value(&mut self, coming: Coming) -> Result<Option<Coming>, NotJson> {
        let token = self.tokens.peek();
        match self.text.get(token) {
            Some(b'"') => self.text_value(coming)?,
            Some(b'{') => return self.open(coming, b'}'),
            Some(b'[') => return self.open(coming, b']'),
            _ => self.scalar(coming, token)?,
        }
        Ok(None)
    }

    /// What comes behind a value: the next element or member, or `None` at the end of everything.
    fn next(&mut self) -> Result<Option<Coming>, NotJson> {
        while let Some(open) = self.room.open.last().copied() {
            match (self.token()?, open.kind) {
                (b',', _) => return self.first_of(open).map(Some),
                (b'}', Kind::Object) | (b']', Kind::List(_)) => {}
                _ => return Err(NotJson),
            }
            if let Kind::List(Some(list)) = open.kind {
                self.findings.end_list(list);
            }
            self.room.seen.truncate(open.seen_from);
            self.room.open.pop();
        }
        Ok(None)
    }

    fn open(&mut self, coming: Coming, end: u8) -> Result<Option<Coming>, NotJson> {
        self.token()?;
        if let Some(node) = coming.node {
            self.findings.container(node, end == b'}');
        }
        let close = self.tokens.peek();
        if self.text.get(close) == Some(&end) {
            self.token()?;
            return Ok(None);
        }
        if DEEPEST <= self.room.open.len() {
            return Err(NotJson);
        }
        let list = end == b']';
        let tree = &self.criteria.tree;
        let node = coming.node.filter(|node| list || tree.has_children(*node));
        let element = match coming.list.filter(|_| node.is_some()) {
            Some(list) => self.findings.element(list, coming.element),
            None => coming.element,
        };
        let kind = match (list, node) {
            (false, _) => Kind::Object,
            (true, Some(_)) => Kind::List(Some(self.findings.list())),
            (true, None) => Kind::List(None),
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
            Kind::List(list) => (open.node, list),
        };
        Ok(Coming {
            node,
            element: open.element,
            list,
        })
    }

    /// Passes over a member's name; gives its place in the tree.
    fn member(&mut self, open: Open) -> Result<Option<NodeId>, NotJson> {
        if self.text.get(self.tokens.peek()) != Some(&b'"') {
            return Err(NotJson);
        }
        let (raw, escapes) = self.string()?;
        if self.token()? != b':' {
            return Err(NotJson);
        }
        let Some(parent) = open.node.filter(|_| !self.findings.is_sure()) else {
            if escapes {
                check_escapes(raw)?;
            }
            return Ok(None);
        };
        let name = if escapes {
            unescape(raw, &mut self.room.name)?;
            &self.room.name
        } else {
            raw
        };
        let Some(node) = self.criteria.tree.find(parent, name) else {
            return Ok(None);
        };
        if self.room.seen[open.seen_from..].contains(&node) {
            return Ok(None);
        }
        self.room.seen.push(node);
        Ok(Some(node))
    }

    fn text_value(&mut self, coming: Coming) -> Result<(), NotJson> {
        let (raw, escapes) = self.string()?;
        let Some(node) = self.looked_for(coming) else {
            return if escapes { check_escapes(raw) } else { Ok(()) };
        };
        let direct = self.is_direct(node);
        let text = if escapes {
            unescape(raw, &mut self.room.value)?;
            &self.room.value
        } else {
            raw
        };
        let leaf = Leaf::Text(text);
        self.findings
            .leaf(self.criteria, node, coming.element, leaf, direct);
        Ok(())
    }

    fn scalar(&mut self, coming: Coming, end: usize) -> Result<(), NotJson> {
        let leaf = match trim(&self.text[self.at..end]) {
            b"null" => Leaf::Null,
            b"true" => Leaf::Boolean(true),
            b"false" => Leaf::Boolean(false),
            number if is_number(number) => Leaf::Number(number),
            _ => return Err(NotJson),
        };
        self.at = end;
        if let Some(node) = self.looked_for(coming) {
            let direct = self.is_direct(node);
            self.findings
                .leaf(self.criteria, node, coming.element, leaf, direct);
        }
        Ok(())
    }

    fn looked_for(&self, coming: Coming) -> Option<NodeId> {
        let conditions = |node: &NodeId| !self.criteria.tree.conditions(*node).is_empty();
        coming.node.filter(conditions)
    }

    /// Whether a value is a member of the outermost object, and so the only one of its path: below
    /// that, dots in a name can lead to one path in several ways.
    fn is_direct(&self, node: NodeId) -> bool {
        let outermost =
            matches!(self.room.open.as_slice(), [open] if matches!(open.kind, Kind::Object));
        outermost && self.criteria.tree.is_child(node, self.root)
    }

    /// Passes over a string; gives it as it stands between its quotes, and whether it has escapes.
    fn string(&mut self) -> Result<(&'w [u8], bool), NotJson> {
        self.token()?;
        let start = self.at;
        let close = self.tokens.peek();
        let raw = self.text.get(start..close).ok_or(NotJson)?;
        if close == self.text.len() {
            return Err(NotJson);
        }
        let escapes = self.tokens.escapes_since(start, close);
        self.tokens.take();
        self.at = close + 1;
        Ok((raw, escapes))
    }

    /// Passes over a token with nothing but white space before it.
    fn token(&mut self) -> Result<u8, NotJson> {
        let token = self.tokens.peek();
        let byte = *self.text.get(token).ok_or(NotJson)?;
        if self.at != token && !self.text[self.at..token].iter().all(is_space) {
            return Err(NotJson);
        }
        self.tokens.take();
        self.at = token + 1;
        Ok(byte)
    }
}

fn trim(text: &[u8]) -> &[u8] {
    let Some(first) = text.iter().position(|byte| !is_space(byte)) else {
        return &[];
    };
    let last = text.iter().rposition(|byte| !is_space(byte));
    &text[first..=last.expect("there is a first")]
}

/// White space as JSON has it.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
