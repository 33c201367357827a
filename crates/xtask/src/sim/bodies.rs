//! Finds the bodies of a Rust file: blocks that may be replaced by a choice among several.

use std::iter::Peekable;
use std::ops::Range;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree, token_stream};

/// The bytes of each body with its braces, in the order of the text. `None` if brackets or quotes of
/// the text do not match.
///
/// These are the bodies of functions and methods, with all that is inside. A `const fn` has none,
/// because the compiler runs it too; and of one that returns `impl Trait`, which is the type that one
/// body has, only closures have.
pub(super) fn bodies(text: &str) -> Option<Vec<Range<usize>>> {
    let tokens: TokenStream = text.parse().ok()?;
    let mut found = Vec::new();
    collect(tokens, &mut found);
    Some(found)
}

type Tokens = Peekable<token_stream::IntoIter>;

fn collect(tokens: TokenStream, found: &mut Vec<Range<usize>>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut is_const = false;
    while let Some(token) = tokens.next() {
        if let TokenTree::Ident(word) = &token {
            // A type such as `fn(u32)` has no name.
            if word == "fn" && matches!(tokens.peek(), Some(TokenTree::Ident(_))) {
                collect_function(&mut tokens, is_const, found);
            }
            let is_qualifier = word == "unsafe" || word == "extern";
            is_const = word == "const" || (is_const && is_qualifier);
        }
        if let Some(braces) = braces(&token) {
            collect(braces.stream(), found);
        }
    }
}

/// Reads a function from its name on. A method of a trait may have no body.
fn collect_function(tokens: &mut Tokens, is_const: bool, found: &mut Vec<Range<usize>>) {
    let mut returns_impl = false;
    for token in tokens {
        if let Some(body) = braces(&token) {
            if returns_impl {
                collect_closures(body.stream(), found);
            } else if !is_const {
                found.push(body.span().byte_range());
            }
            return;
        }
        // The parameters are a group of their own, so this `impl` belongs to the result.
        returns_impl |= matches!(&token, TokenTree::Ident(word) if word == "impl");
        if is_mark(&token, ';') {
            return;
        }
    }
}

/// Closures with braces: `|x| { … }`.
fn collect_closures(tokens: TokenStream, found: &mut Vec<Range<usize>>) {
    let mut follows_bar = false;
    for token in tokens {
        match &token {
            TokenTree::Group(group) if follows_bar && braces(&token).is_some() => {
                found.push(group.span().byte_range());
            }
            TokenTree::Group(group) => collect_closures(group.stream(), found),
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        follows_bar = is_mark(&token, '|');
    }
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn braces(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = bodies(text).unwrap().into_iter();
        assert_eq!(Vec::from_iter(found.map(|body| &text[body])), expected);
    }

    #[test]
    fn functions_are_found_at_every_level() {
        check(
            "//! Größe\nfn a() { 1 }\n\
             impl A { pub fn b<T: Into<u8>>(x: T) -> [u8; 2] where T: Copy { 2 } }\n\
             mod c { trait D { fn e(); fn f(g: fn(u8) -> u8) { 3 } } }",
            &["{ 1 }", "{ 2 }", "{ 3 }"],
        );
    }

    #[test]
    fn a_function_inside_of_another_belongs_to_that() {
        check("fn a() { fn b() { 1 } b() }", &["{ fn b() { 1 } b() }"]);
    }

    #[test]
    fn a_constant_function_has_no_body() {
        let text = "const fn a() { 1 } const unsafe fn b() { 2 } const C: u8 = 1;\n\
                    fn d() -> *const u8 { 3 } fn e() { 4 }";
        check(text, &["{ 3 }", "{ 4 }"]);
    }

    #[test]
    fn a_function_that_returns_impl_has_the_bodies_of_its_closures() {
        let text = "fn a(b: impl Fn()) { 1 }\n\
                    fn c(d: bool) -> impl Iterator<Item = u8> { if d { 2 } e(|f| { 3 }, g(|| { 4 })) }";
        check(text, &["{ 1 }", "{ 3 }", "{ 4 }"]);
    }

    #[test]
    fn brackets_that_do_not_match_have_no_bodies() {
        assert_eq!(bodies("fn a() { ("), None);
    }
}
