//! Finds import cycles between the files of a crate: files in a cycle cannot be understood, tested
//! or moved one at a time.
//!
//! A file depends on the files that define the items it names. A re-export is not a dependency: a
//! file that names an item through one depends on the file that defines the item. Tests may name
//! anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::imports::{Module, Source};
use super::{Files, Finding};

/// The crates that are checked.
const CRATES: &[&str] = &[
    "windlass-core",
    "windlass-filter",
    "windlass-engine",
    "windlass-admin",
];

/// What each file depends on, with the first line that names it.
type Graph = BTreeMap<String, BTreeMap<String, usize>>;

/// Checks the crates one by one.
pub(super) fn check(files: &Files) -> Vec<Finding> {
    let roots = CRATES.iter().map(|name| format!("crates/{name}/src/"));
    roots.flat_map(|root| check_crate(files, &root)).collect()
}

fn check_crate(files: &Files, root: &str) -> Vec<Finding> {
    let mut graph = graph_of(&sources_of(files, root));
    let mut findings = Vec::new();
    while let Some(mut cycle) = shortest_cycle(&graph) {
        let (from, to) = edge_to_cut(&cycle);
        let line = graph[&from][&to];
        let start = cycle.iter().position(|path| *path == from);
        cycle.rotate_left(start.expect("the edge is part of the cycle"));
        let files: Vec<&str> = cycle.iter().map(|path| &path[root.len()..]).collect();
        let text = format!("import cycle: {} → {}", files.join(" → "), files[0]);
        findings.push(Finding::new(&from, line, text));
        remove(&mut graph, &from, &to);
    }
    findings
}

fn remove(graph: &mut Graph, from: &str, to: &str) -> bool {
    graph
        .get_mut(from)
        .is_some_and(|edges| edges.remove(to).is_some())
}

/// The sources of a library by their modules, without those of its tests and its programs.
fn sources_of(files: &Files, root: &str) -> BTreeMap<Module, Source> {
    let mut sources = BTreeMap::new();
    for (path, text) in files {
        let Some(relative) = path.strip_prefix(root) else {
            continue;
        };
        let Some(stem) = relative.strip_suffix(".rs") else {
            continue;
        };
        let mut module: Module = stem.split('/').map(str::to_owned).collect();
        if module[0] == "bin" || module.iter().any(|part| part == "tests") {
            continue;
        }
        module.pop_if(|last| ["lib", "main", "mod"].contains(&last.as_str()));
        sources.insert(module, Source::parse(path, text));
    }
    sources
}

fn graph_of(sources: &BTreeMap<Module, Source>) -> Graph {
    let mut graph = Graph::new();
    for (module, source) in sources {
        let edges = graph.entry(source.path.clone()).or_default();
        for (path, line) in source.named_paths() {
            if let Some(target) = resolve(sources, module, path, 8)
                && target != *module
            {
                edges.entry(sources[&target].path.clone()).or_insert(line);
            }
        }
    }
    graph
}

/// The module that defines the item of this path, as seen from a module. Nothing for a path that
/// leads to another crate, or to a module rather than to an item.
fn resolve(
    sources: &BTreeMap<Module, Source>,
    from: &Module,
    path: &[String],
    depth: u32,
) -> Option<Module> {
    let mut module = from.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            module.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while let Some((_, others)) = rest.split_first().filter(|(part, _)| *part == "super") {
                module.pop()?;
                rest = others;
            }
        }
        name => {
            let is_child = sources.contains_key(&child_of(from, name));
            let is_imported = sources.get(from)?.names.contains_key(name);
            if !is_child && !is_imported {
                return None;
            }
        }
    }
    while let Some((name, others)) = rest.split_first() {
        let child = child_of(&module, name);
        if sources.contains_key(&child) {
            module = child;
            rest = others;
            continue;
        }
        if let Some(imported) = sources.get(&module)?.names.get(name) {
            let path = [imported, others].concat();
            let is_other_crate = depth == 0 || imported.first() == Some(name);
            return if is_other_crate {
                None
            } else {
                resolve(sources, &module, &path, depth - 1)
            };
        }
        return Some(module);
    }
    None
}

fn child_of(module: &Module, name: &str) -> Module {
    let mut child = module.clone();
    child.push(name.to_owned());
    child
}

/// Of a cycle, the dependency that is most likely wrong: that of a file on one in a directory above.
fn edge_to_cut(cycle: &[String]) -> (String, String) {
    let next = cycle.iter().cycle().skip(1);
    let edges = cycle.iter().zip(next);
    let depth = |path: &str| path.trim_end_matches("/mod.rs").matches('/').count();
    let upwards = |(from, to): &(&String, &String)| depth(from) as isize - depth(to) as isize;
    let (from, to) = edges.max_by_key(upwards).expect("a cycle has edges");
    (from.clone(), to.clone())
}

fn shortest_cycle(graph: &Graph) -> Option<Vec<String>> {
    let edges = graph
        .iter()
        .flat_map(|(from, edges)| edges.keys().map(move |to| (from, to)));
    edges
        .filter_map(|(from, to)| shortest_path(graph, to, from))
        .min_by_key(Vec::len)
}

/// The files on the way from one to another, both included.
fn shortest_path(graph: &Graph, from: &str, to: &str) -> Option<Vec<String>> {
    let mut queue = VecDeque::from([vec![from.to_owned()]]);
    let mut seen = BTreeSet::from([from.to_owned()]);
    while let Some(path) = queue.pop_front() {
        let last = path.last()?;
        if last == to {
            return Some(path);
        }
        for next in graph.get(last).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(next.clone()) {
                queue.push_back([path.as_slice(), std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(sources: &[(&str, &str)]) -> Vec<String> {
        let named = |(path, text): &(&str, &str)| (format!("src/{path}"), (*text).to_owned());
        let files: Files = sources.iter().map(named).collect();
        let found = check_crate(&files, "src/");
        found.iter().map(ToString::to_string).collect()
    }

    const CYCLE: &[(&str, &str)] = &[
        ("lib.rs", "mod a;\nmod b;\n"),
        ("a.rs", "use crate::b::B;\npub(crate) struct A(B);\n"),
        ("b.rs", "//! B.\n\nfn b(a: crate::a::A) {}\n"),
    ];

    #[test]
    fn a_cycle_is_found_by_imports_and_by_paths() {
        let found = findings(CYCLE);
        assert_eq!(found, ["src/a.rs:1: import cycle: a.rs → b.rs → a.rs"]);
    }

    #[test]
    fn a_parent_that_re_exports_does_not_depend_on_its_children() {
        let lane = "use super::Batch;\nuse super::settings::Limits;\npub(super) struct Lane;\n";
        let sources = [
            ("lib.rs", "mod shard;\npub use shard::Lane;\n"),
            (
                "shard/mod.rs",
                "mod lane;\nmod settings;\npub use lane::Lane;\npub struct Batch;\n",
            ),
            ("shard/lane.rs", lane),
            ("shard/settings.rs", "pub(super) struct Limits;\n"),
        ];
        assert_eq!(findings(&sources), Vec::<String>::new());
        let mut used = sources;
        used[1].1 = "mod lane;\nmod settings;\npub struct Batch(lane::Lane);\n";
        let found = findings(&used);
        let expected = "src/shard/lane.rs:1: import cycle: ";
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{found:?}"
        );
    }

    #[test]
    fn an_item_is_followed_through_re_exports_and_imported_modules() {
        let found = findings(&[
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a/mod.rs", "mod one;\nmod two;\npub(crate) use one::One;\n"),
            ("a/one.rs", "use crate::b;\npub(crate) struct One(b::B);\n"),
            ("a/two.rs", "use super::One;\n"),
            (
                "b.rs",
                "use crate::a::{self, One as First};\nuse a::two::Two;\n",
            ),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("b.rs → a/one.rs → b.rs")
                || found[0].contains("a/one.rs → b.rs → a/one.rs"),
            "{found:?}"
        );
    }

    #[test]
    fn tests_comments_and_other_crates_do_not_count() {
        let a = "//! See [`crate::b::B`].\nuse std::a::b;\n#[cfg(test)]\nmod tests {\n    \
                 use crate::b::B;\n}\n";
        let sources = [
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", a),
            ("a/tests.rs", "use crate::b::B;\n"),
            ("b.rs", "use crate::a::A;\npub(crate) struct B;\n"),
        ];
        assert_eq!(findings(&sources), Vec::<String>::new());
    }
}
