//! The names that filters look for, as a tree: a walk over an event goes down both together.

/// A place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

/// The tree. There may be several roots, one for each text that is walked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    /// By their names.
    children: Vec<(Box<[u8]>, NodeId)>,
    conditions: Vec<usize>,
    parent: Option<NodeId>,
}

impl Tree {
    pub(super) fn add_root(&mut self) -> NodeId {
        self.add(Node::default())
    }

    /// The place of a path below a place; its names stand between dots.
    pub(super) fn add_path(&mut self, from: NodeId, path: &str) -> NodeId {
        path.split('.').fold(from, |parent, name| {
            let name = name.as_bytes();
            match self.node(parent).child(name) {
                Ok(child) => child,
                Err(place) => {
                    let child = self.add(Node {
                        parent: Some(parent),
                        ..Node::default()
                    });
                    let children = &mut self.nodes[parent.0 as usize].children;
                    children.insert(place, (name.into(), child));
                    child
                }
            }
        })
    }

    /// Notes that a condition is about the value at a place.
    pub(super) fn add_condition(&mut self, node: NodeId, condition: usize) {
        self.nodes[node.0 as usize].conditions.push(condition);
    }

    /// The place of a member of an object: its name may stand for several steps, since dots join
    /// the names of a path.
    pub(super) fn find(&self, from: NodeId, name: &[u8]) -> Option<NodeId> {
        let mut node = from;
        for step in name.split(|byte| *byte == b'.') {
            node = self.node(node).child(step).ok()?;
        }
        Some(node)
    }

    /// The conditions about the value at a place.
    pub(super) fn conditions(&self, node: NodeId) -> &[usize] {
        &self.node(node).conditions
    }

    /// Whether anything below a place is looked for.
    pub(super) fn has_children(&self, node: NodeId) -> bool {
        !self.node(node).children.is_empty()
    }

    /// Whether a place is one step below another.
    pub(super) fn is_child(&self, node: NodeId, of: NodeId) -> bool {
        self.node(node).parent == Some(of)
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = u32::try_from(self.nodes.len()).expect("patterns are short");
        self.nodes.push(node);
        NodeId(id)
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

impl Node {
    /// The child of this name, or where it would stand.
    fn child(&self, name: &[u8]) -> Result<NodeId, usize> {
        let found = self
            .children
            .binary_search_by(|(step, _)| (**step).cmp(name));
        found.map(|place| self.children[place].1)
    }
}
