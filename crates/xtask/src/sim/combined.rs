//! Combines many mutants into one program, which chooses among them when it runs.
//!
//! Building takes seconds, simulating until the first failure mostly takes milliseconds. So a function
//! that mutants change gets all of their bodies:
//!
//! ```text
//! fn due(&self) -> bool { match crate::mutants::chosen() {
//! 17 => { …the body with the fault of mutant 17… }
//! 23 => { …the body with the fault of mutant 23… }
//! _ => { …the body… }
//! } }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use anyhow::Result;

use super::bodies::bodies;
use super::source_copy::Texts;

/// The environment variable that chooses a mutant by its number. Without it the program is the
/// unmodified one.
pub(super) const CHOICE: &str = "WINDLASS_MUTANT";

/// Appended to the root of a crate with mutants. It is read once, as hot code asks for it.
const CHOSEN: &str = "
mod mutants {
    #[inline]
    pub(crate) fn chosen() -> usize {
        static CHOSEN: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
            let chosen = std::env::var(\"WINDLASS_MUTANT\");
            chosen.map_or(0, |number| number.parse().expect(\"a mutant has a number\"))
        });
        *CHOSEN
    }
}
";

/// Precedes the first line of such a crate: a fault may leave variables or code unused.
const NO_WARNINGS: &str = "#![allow(warnings)] ";

#[derive(Default)]
pub(super) struct Combined {
    /// Files with mutants, and the roots of their crates.
    files: BTreeMap<String, File>,
}

/// A file, unmodified, and what mutants make of its bodies.
struct File {
    text: String,
    /// By the start and the end of the unmodified one.
    bodies: BTreeMap<(usize, usize), Vec<MutatedBody>>,
}

struct MutatedBody {
    mutant: usize,
    text: String,
}

impl Combined {
    /// Adds the mutant with this number (from 1), given the files that it changes. Returns false if
    /// it changes more than [`bodies`]: it needs a program of its own.
    pub(super) fn add(
        &mut self,
        mutant: usize,
        mutated: &Texts,
        read: impl Fn(&str) -> Result<String>,
    ) -> Result<bool> {
        let mut changes = Vec::new();
        for (path, mutated) in mutated {
            let text = read(path)?;
            let Some(bodies) = changed_bodies(&text, mutated) else {
                return Ok(false);
            };
            let Some((package, _)) = path.split_once("/src/") else {
                return Ok(false);
            };
            let root = format!("{package}/src/lib.rs");
            let Ok(root_text) = read(&root) else {
                return Ok(false);
            };
            changes.push((root, root_text, BTreeMap::new()));
            changes.push((path.clone(), text, bodies));
        }
        for (path, text, bodies) in changes {
            let file = self.files.entry(path).or_insert_with(|| File {
                text,
                bodies: BTreeMap::new(),
            });
            for (place, text) in bodies {
                let bodies = file.bodies.entry(place).or_default();
                bodies.push(MutatedBody { mutant, text });
            }
        }
        Ok(true)
    }

    pub(super) fn remove(&mut self, mutant: usize) {
        for file in self.files.values_mut() {
            for bodies in file.bodies.values_mut() {
                bodies.retain(|body| body.mutant != mutant);
            }
            file.bodies.retain(|_, bodies| !bodies.is_empty());
        }
    }

    /// The files that differ from the unmodified code.
    pub(super) fn sources(&self) -> Sources {
        let mut sources = Sources::default();
        for (path, file) in &self.files {
            let (text, regions) = file.combine(path.ends_with("/src/lib.rs"));
            sources.texts.insert(path.clone(), text);
            sources.regions.insert(path.clone(), regions);
        }
        sources
    }
}

impl File {
    fn combine(&self, is_root: bool) -> (String, Vec<Region>) {
        let mut out = Output::default();
        let mut from = 0;
        if is_root {
            out.push(NO_WARNINGS);
        }
        for (&(start, end), bodies) in &self.bodies {
            out.push(&self.text[from..start]);
            out.push_choice(&self.text[start..end], bodies);
            from = end;
        }
        out.push(&self.text[from..]);
        if is_root {
            out.push(CHOSEN);
        }
        (out.text, out.regions)
    }
}

/// The files of a program with many mutants.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) texts: Texts,
    regions: BTreeMap<String, Vec<Region>>,
}

/// Lines (from 1) of a file which these mutants have changed. A region precedes those around it.
struct Region {
    lines: RangeInclusive<usize>,
    mutants: Vec<usize>,
}

impl Sources {
    /// The mutants that the compiler's errors, one on a line, are about: `file.rs:17:9: error: …`.
    pub(super) fn mutants_with_errors(&self, output: &str) -> BTreeSet<usize> {
        let locations = output.lines().filter_map(location_of_error);
        let mutants = locations.filter_map(|(file, line)| {
            let mut regions = self.regions.get(file)?.iter();
            Some(&regions.find(|region| region.lines.contains(&line))?.mutants)
        });
        mutants.flatten().copied().collect()
    }
}

fn location_of_error(line: &str) -> Option<(&str, usize)> {
    let (location, _) = line.split_once(": error")?;
    let (file, position) = location.split_once(':')?;
    let (line, _) = position.split_once(':')?;
    Some((file, line.parse().ok()?))
}

#[derive(Default)]
struct Output {
    text: String,
    /// Complete lines so far.
    n_lines: usize,
    regions: Vec<Region>,
}

impl Output {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.n_lines += text.matches('\n').count();
    }

    /// Each body is on lines of its own, which tells whose error it is.
    fn push_choice(&mut self, original: &str, bodies: &[MutatedBody]) {
        let first = self.line();
        self.push("{ match crate::mutants::chosen() {\n");
        for body in bodies {
            let first = self.line();
            self.push(&format!("{} => {}", body.mutant, body.text));
            self.end_region(first, vec![body.mutant]);
            self.push("\n");
        }
        self.push(&format!("_ => {original}\n}} }}"));
        self.end_region(first, bodies.iter().map(|body| body.mutant).collect());
    }

    fn end_region(&mut self, first: usize, mutants: Vec<usize>) {
        self.regions.push(Region {
            lines: first..=self.line(),
            mutants,
        });
    }

    /// The number of the line that is being written.
    fn line(&self) -> usize {
        self.n_lines + 1
    }
}

/// The bodies that differ, by their place in the original, and what replaces them. `None` if the
/// texts differ in anything else.
fn changed_bodies(original: &str, mutated: &str) -> Option<BTreeMap<(usize, usize), String>> {
    let mut changed = BTreeMap::new();
    let (mut from, mut mutated_from) = (0, 0);
    let (before, after) = (bodies(original)?, bodies(mutated)?);
    if before.len() != after.len() {
        return None;
    }
    for (before, after) in before.into_iter().zip(after) {
        if original[from..before.start] != mutated[mutated_from..after.start] {
            return None;
        }
        (from, mutated_from) = (before.end, after.end);
        let body = &mutated[after];
        if &original[before.clone()] != body {
            changed.insert((before.start, before.end), body.to_owned());
        }
    }
    (original[from..] == mutated[mutated_from..]).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "crates/a/src/b.rs";
    const ROOT: &str = "crates/a/src/lib.rs";
    const TEXT: &str = "const A: u8 = 1;\nimpl B {\n    fn c(&self) -> u8 {\n        fn d() -> u8 {\n\
                        2 }\n        d()\n    }\n}\nfn e() -> u8 { 3 }\n";

    /// The mutants (find, replace) by their numbers from 1, and whether each could be added.
    fn combine(mutants: &[(&str, &str)]) -> (Combined, Vec<bool>) {
        let mut combined = Combined::default();
        let read = |path: &str| Ok(if path == ROOT { "//! A.\n" } else { TEXT }.to_owned());
        let added = (1..).zip(mutants).map(|(number, (find, replace))| {
            assert!(TEXT.contains(find), "{find}");
            let texts = Texts::from([(FILE.to_owned(), TEXT.replace(find, replace))]);
            combined.add(number, &texts, read).unwrap()
        });
        let added = added.collect();
        (combined, added)
    }

    #[test]
    fn a_method_chooses_among_its_mutants() {
        let (combined, added) = combine(&[("d()\n", "4\n"), ("2 }", "5 }")]);
        assert_eq!(added, [true, true]);
        let sources = combined.sources();
        let expected = "const A: u8 = 1;\nimpl B {\n    fn c(&self) -> u8 { match crate::mutants::chosen() {\n\
            1 => {\n        fn d() -> u8 {\n2 }\n        4\n    }\n\
            2 => {\n        fn d() -> u8 {\n5 }\n        d()\n    }\n\
            _ => {\n        fn d() -> u8 {\n2 }\n        d()\n    }\n\
            } }\n}\nfn e() -> u8 { 3 }\n";
        assert_eq!(sources.texts[FILE], expected);
        assert!(sources.texts[ROOT].starts_with("#![allow(warnings)] //! A.\n\nmod mutants {"));
        assert!(bodies(&sources.texts[ROOT]).is_some());
    }

    #[test]
    fn a_mutant_may_change_several_functions() {
        let (combined, added) = combine(&[(
            "d()\n    }\n}\nfn e() -> u8 { 3",
            "6\n    }\n}\nfn e() -> u8 { 7",
        )]);
        assert_eq!(added, [true]);
        let text = &combined.sources().texts[FILE];
        assert!(text.contains("        6\n    }\n_ =>"), "{text}");
        assert!(text.contains("1 => { 7 }\n_ => { 3 }\n"), "{text}");
    }

    #[test]
    fn a_change_outside_of_a_function_needs_a_program_of_its_own() {
        let changes = [
            ("= 1", "= 2"),
            ("&self", "&mut self"),
            ("fn e", "const fn e"),
            ("fn e() -> u8 { 3 }", "fn e() -> u8 { 4 }\nfn f() {}"),
            ("fn e() -> u8 { 3 }", ""),
            ("3 }", "3 }}"),
        ];
        let (combined, added) = combine(&changes);
        assert_eq!(added, [false; 6]);
        assert!(combined.sources().texts.is_empty());
    }

    #[test]
    fn an_error_is_attributed_to_the_mutant_on_its_line() {
        let (mut combined, _) = combine(&[("d()\n", "4\n"), ("2 }", "5 }"), ("3 }", "6 }")]);
        let sources = combined.sources();
        let line_of = |text: &str| {
            let mut lines = (1..).zip(sources.texts[FILE].lines());
            lines.find(|(_, line)| line.contains(text)).unwrap().0
        };
        let mutants = |line: usize| {
            let output =
                format!("{FILE}:1:1: warning: a\n{FILE}:{line}:5: error[E0308]: b\nerror: c\n");
            Vec::from_iter(sources.mutants_with_errors(&output))
        };
        assert_eq!(mutants(line_of("        4")), [1]);
        assert_eq!(mutants(line_of("5 }")), [2]);
        // What the unmodified body does not agree with may be the body of any mutant.
        assert_eq!(mutants(line_of("fn c")), [1, 2]);
        assert_eq!(mutants(line_of("_ =>")), [1, 2]);
        assert!(mutants(line_of("const A")).is_empty());
        combined.remove(2);
        let text = &combined.sources().texts[FILE];
        assert!(text.contains("1 =>") && !text.contains("2 =>"), "{text}");
    }
}
