//! Renders JSON, with random white space and escapes.

use std::fmt::Write as _;

use crate::naive_filter::json::Json;
use crate::rng::Rng;

pub(super) fn text(rng: &mut Rng, json: &Json) -> String {
    let mut out = String::new();
    let style = Style {
        space: rng.pick(&[0, 0, 100]),
        escapes: rng.pick(&[0, 0, 150]),
    };
    style.value(rng, json, &mut out);
    out
}

/// Renders without white space and unnecessary escapes.
pub(super) fn plain(rng: &mut Rng, json: &Json) -> String {
    let mut out = String::new();
    let style = Style {
        space: 0,
        escapes: 0,
    };
    style.value(rng, json, &mut out);
    out
}

/// Probabilities of optional white space and escapes, in per mille.
struct Style {
    space: u64,
    escapes: u64,
}

impl Style {
    fn value(&self, rng: &mut Rng, json: &Json, out: &mut String) {
        self.space(rng, out);
        match json {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(literal) => out.push_str(literal),
            Json::Text(text) => self.string(rng, text, out),
            Json::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    self.value(rng, element, out);
                }
                self.space(rng, out);
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    self.space(rng, out);
                    self.string(rng, name, out);
                    self.space(rng, out);
                    out.push(':');
                    self.value(rng, value, out);
                }
                self.space(rng, out);
                out.push('}');
            }
        }
        self.space(rng, out);
    }

    fn string(&self, rng: &mut Rng, text: &str, out: &mut String) {
        out.push('"');
        for char in text.chars() {
            match char {
                _ if char < ' ' || rng.per_mille(self.escapes) => escape(char, out),
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                other => out.push(other),
            }
        }
        out.push('"');
    }

    fn space(&self, rng: &mut Rng, out: &mut String) {
        if rng.per_mille(self.space) {
            out.push_str(rng.pick(&[" ", "\t", "\n", "\r\n", "  "]));
        }
    }
}

fn escape(char: char, out: &mut String) {
    for unit in char.encode_utf16(&mut [0; 2]) {
        write!(out, "\\u{unit:04x}").expect("a string can be written to");
    }
}
