//! The field names that patterns mention, as a tree that is descended along with an event.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

/// May have several roots, one for each text that is scanned.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PathTree {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    /// Sorted by name.
    children: Vec<(Box<[u8]>, NodeId)>,
    conditions: Vec<usize>,
    parent: Option<NodeId>,
}

impl PathTree {
    pub(crate) fn add_root(&mut self) -> NodeId {
        self.add(Node::default())
    }

    /// The node of a path, whose names are separated by dots, below `from`; added if it is missing.
    pub(crate) fn add_path(&mut self, from: NodeId, path: &str) -> NodeId {
        path.split('.').fold(from, |parent, name| {
            let name = name.as_bytes();
            match self.node(parent).child(name) {
                Ok(child) => child,
                Err(index) => {
                    let child = self.add(Node {
                        parent: Some(parent),
                        ..Node::default()
                    });
                    let children = &mut self.nodes[parent.0 as usize].children;
                    children.insert(index, (name.into(), child));
                    child
                }
            }
        })
    }

    pub(crate) fn add_condition(&mut self, node: NodeId, condition: usize) {
        self.nodes[node.0 as usize].conditions.push(condition);
    }

    /// The node of an object's member. A name may contain dots, and then descends several levels.
    pub(crate) fn find(&self, from: NodeId, name: &[u8]) -> Option<NodeId> {
        let mut node = from;
        for step in name.split(|byte| *byte == b'.') {
            node = self.node(node).child(step).ok()?;
        }
        Some(node)
    }

    /// The conditions on the value of a node.
    pub(crate) fn conditions(&self, node: NodeId) -> &[usize] {
        &self.node(node).conditions
    }

    pub(crate) fn has_children(&self, node: NodeId) -> bool {
        !self.node(node).children.is_empty()
    }

    pub(crate) fn is_child(&self, node: NodeId, of: NodeId) -> bool {
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
    /// The child with this name, or the index at which to insert it.
    fn child(&self, name: &[u8]) -> Result<NodeId, usize> {
        let found = self
            .children
            .binary_search_by(|(child, _)| (**child).cmp(name));
        found.map(|index| self.children[index].1)
    }
}
