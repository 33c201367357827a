//! The tests of one value.

use super::{accepts, are_invalid_tests, rejects};

#[test]
fn an_exact_value_has_a_type() {
    accepts(r#""dog""#, &[r#""dog""#, r#""\u0064og""#]);
    rejects(r#""dog""#, &[r#""Dog""#, r#""dogs""#, r#""""#, "null"]);
    accepts("true", &["true"]);
    rejects("true", &[r#""true""#, "false", "1"]);
    accepts("null", &["null"]);
    rejects("null", &[r#""null""#, r#""""#, "0", "[]", "{}"]);
    rejects("7", &[r#""7""#]);
    rejects(r#""7""#, &["7"]);
}

#[test]
fn numbers_are_equal_by_value() {
    accepts("250", &["250", "250.0", "2.5e2", "0.25E+3", "2500e-1"]);
    accepts("0", &["0.0", "-0", "0e9"]);
    rejects("250", &["250.5", "251", "-250"]);
}

#[test]
fn numbers_that_are_no_doubles_are_equal_by_their_literals() {
    accepts("98765432109876543", &["98765432109876543"]);
    rejects(
        "98765432109876543",
        &["98765432109876543.0", "98765432109876542"],
    );
    accepts("1e999", &["1e999"]);
    rejects("1e999", &["10e998"]);
}

#[test]
fn any_test_of_a_list_suffices() {
    accepts(
        r#""dog", 3, {"prefix": "c"}"#,
        &[r#""dog""#, "3", r#""cat""#],
    );
    rejects(r#""dog", 3, {"prefix": "c"}"#, &[r#""3""#, r#""rat""#]);
}

#[test]
fn exactly_is_another_name_for_an_exact_text() {
    accepts(r#"{"exactly": "dog"}"#, &[r#""dog""#]);
    rejects(r#"{"exactly": "10.1.1.1"}"#, &[r#""10.1.1.01""#]);
    are_invalid_tests(&[r#"{"exactly": 1}"#, r#"{"exactly": ["dog"]}"#]);
}

#[test]
fn a_prefix_is_of_texts() {
    accepts(r#"{"prefix": "12"}"#, &[r#""12""#, r#""123""#]);
    rejects(r#"{"prefix": "12"}"#, &["123", r#""1""#, r#""312""#]);
    accepts(r#"{"prefix": ""}"#, &[r#""""#, r#""x""#]);
    rejects(r#"{"prefix": ""}"#, &["1", "null", "true"]);
    rejects(r#"{"prefix": "x\""}"#, &[r#""x""#]);
    are_invalid_tests(&[
        r#"{"prefix": 12}"#,
        r#"{"prefix": ["x"]}"#,
        r#"{"prefix": null}"#,
    ]);
}

#[test]
fn a_suffix_is_of_texts() {
    accepts(r#"{"suffix": ".gz"}"#, &[r#""x.gz""#, r#"".gz""#]);
    rejects(r#"{"suffix": ".gz"}"#, &[r#""gz""#, r#""x.gzip""#]);
    accepts(r#"{"suffix": ""}"#, &[r#""""#, r#""x""#]);
    rejects(r#"{"suffix": ""}"#, &["1", "null"]);
    are_invalid_tests(&[r#"{"suffix": 1}"#, r#"{"suffix": [".gz"]}"#]);
}

#[test]
fn an_affix_may_ignore_case() {
    accepts(
        r#"{"prefix": {"equals-ignore-case": "äb"}}"#,
        &[r#""ÄBc""#, r#""äB""#],
    );
    rejects(
        r#"{"prefix": {"equals-ignore-case": "äb"}}"#,
        &[r#""abc""#, r#""Ä""#],
    );
    accepts(
        r#"{"suffix": {"equals-ignore-case": ".GZ"}}"#,
        &[r#""x.gZ""#],
    );
    rejects(
        r#"{"suffix": {"equals-ignore-case": ".GZ"}}"#,
        &[r#""x.gzz""#],
    );
    are_invalid_tests(&[
        r#"{"prefix": {"equals-ignore-case": ["a"]}}"#,
        r#"{"prefix": {"suffix": "a"}}"#,
        r#"{"suffix": {}}"#,
        r#"{"suffix": {"equals-ignore-case": "a", "wildcard": "a"}}"#,
    ]);
}

#[test]
fn letters_of_either_case() {
    accepts(
        r#"{"equals-ignore-case": "Größe"}"#,
        &[r#""GRÖßE""#, r#""größe""#],
    );
    rejects(
        r#"{"equals-ignore-case": "Größe"}"#,
        &[r#""grosse""#, r#""Größe ""#],
    );
    accepts(r#"{"equals-ignore-case": "ß"}"#, &[r#""ß""#, r#""SS""#]);
    rejects(r#"{"equals-ignore-case": "ß"}"#, &[r#""ss""#]);
    rejects(r#"{"equals-ignore-case": "SS"}"#, &[r#""ß""#]);
    rejects(r#"{"equals-ignore-case": "1"}"#, &["1"]);
    are_invalid_tests(&[
        r#"{"equals-ignore-case": 1}"#,
        r#"{"equals-ignore-case": ["a"]}"#,
    ]);
}

#[test]
fn a_wildcard_stands_for_any_run() {
    accepts(
        r#"{"wildcard": "a*c"}"#,
        &[r#""ac""#, r#""abc""#, r#""aXcYc""#],
    );
    rejects(
        r#"{"wildcard": "a*c"}"#,
        &[r#""a""#, r#""acd""#, r#""xac""#],
    );
    accepts(r#"{"wildcard": "*"}"#, &[r#""""#, r#""x""#]);
    rejects(r#"{"wildcard": "*"}"#, &["1", "null", "true"]);
    accepts(r#"{"wildcard": "*a*b*a*"}"#, &[r#""aba""#, r#""xaabbaay""#]);
    accepts(r#"{"wildcard": "abc"}"#, &[r#""abc""#]);
    accepts(r#"{"wildcard": ""}"#, &[r#""""#]);
}

#[test]
fn a_wildcard_can_be_escaped() {
    accepts(r#"{"wildcard": "1\\*2*"}"#, &[r#""1*2""#, r#""1*23""#]);
    rejects(r#"{"wildcard": "1\\*2"}"#, &[r#""1x2""#, r#""12""#]);
    accepts(r#"{"wildcard": "c:\\\\*"}"#, &[r#""c:\\x""#]);
    are_invalid_tests(&[
        r#"{"wildcard": "a**"}"#,
        r#"{"wildcard": "a\\b"}"#,
        r#"{"wildcard": "a\\"}"#,
        r#"{"wildcard": 1}"#,
        r#"{"wildcard": ["a"]}"#,
    ]);
    // The second asterisk is a wildcard, the first is none.
    accepts(r#"{"wildcard": "\\**"}"#, &[r#""*""#, r#""*x""#]);
}

#[test]
fn anything_but_accepts_what_is_there_and_differs() {
    accepts(
        r#"{"anything-but": "a"}"#,
        &[r#""b""#, "1", "null", "true", r#"["a", "b"]"#],
    );
    rejects(
        r#"{"anything-but": "a"}"#,
        &[r#""a""#, "[]", "{}", r#"{"w": "b"}"#, r#"["a", "a"]"#],
    );
    accepts(
        r#"{"anything-but": [1, 2]}"#,
        &["3", r#""1""#, "98765432109876543"],
    );
    rejects(r#"{"anything-but": [1, 2]}"#, &["1.0", "20e-1"]);
    rejects(r#"{"anything-but": ["a", "b"]}"#, &[r#""b""#]);
    accepts(r#"{"anything-but": "10.1.1.1"}"#, &[r#""10.1.1.01""#]);
    are_invalid_tests(&[
        r#"{"anything-but": []}"#,
        r#"{"anything-but": ["a", 1]}"#,
        r#"{"anything-but": null}"#,
        r#"{"anything-but": true}"#,
        r#"{"anything-but": [["a"]]}"#,
        r#"{"anything-but": 98765432109876543}"#,
    ]);
}

#[test]
fn anything_but_excludes_by_other_tests() {
    accepts(
        r#"{"anything-but": {"prefix": "a"}}"#,
        &[r#""ba""#, "1", "null"],
    );
    rejects(
        r#"{"anything-but": {"prefix": ["a", "b"]}}"#,
        &[r#""ba""#, r#""a""#],
    );
    accepts(r#"{"anything-but": {"suffix": ["a", "b"]}}"#, &[r#""bc""#]);
    rejects(r#"{"anything-but": {"suffix": "a"}}"#, &[r#""ba""#]);
    rejects(
        r#"{"anything-but": {"equals-ignore-case": ["a", "b"]}}"#,
        &[r#""A""#, r#""b""#],
    );
    accepts(r#"{"anything-but": {"wildcard": "a*"}}"#, &[r#""ba""#, "1"]);
    rejects(
        r#"{"anything-but": {"wildcard": ["a*", "*b"]}}"#,
        &[r#""ax""#, r#""xb""#],
    );
    are_invalid_tests(&[
        r#"{"anything-but": {}}"#,
        r#"{"anything-but": {"prefix": ""}}"#,
        r#"{"anything-but": {"suffix": ["a", ""]}}"#,
        r#"{"anything-but": {"prefix": []}}"#,
        r#"{"anything-but": {"prefix": 1}}"#,
        r#"{"anything-but": {"prefix": {"equals-ignore-case": "a"}}}"#,
        r#"{"anything-but": {"wildcard": "**"}}"#,
        r#"{"anything-but": {"numeric": ["=", 1]}}"#,
        r#"{"anything-but": {"cidr": "10.0.0.0/8"}}"#,
        r#"{"anything-but": {"exists": true}}"#,
        r#"{"anything-but": {"": "a"}}"#,
        r#"{"anything-but": {"prefix": "a", "suffix": "b"}}"#,
    ]);
}

#[test]
fn numbers_lie_in_ranges() {
    accepts(r#"{"numeric": ["=", 30]}"#, &["30", "3e1"]);
    accepts(r#"{"numeric": ["<", 30]}"#, &["29.9", "-1e300"]);
    rejects(
        r#"{"numeric": ["<", 30]}"#,
        &["30", r#""29""#, "null", "-1e999"],
    );
    accepts(r#"{"numeric": ["<=", 30]}"#, &["30"]);
    rejects(r#"{"numeric": [">", 30]}"#, &["30.0"]);
    accepts(r#"{"numeric": [">=", 30]}"#, &["30.0", "1e300"]);
    accepts(r#"{"numeric": [">", 0, "<=", 5]}"#, &["0.1", "5"]);
    rejects(r#"{"numeric": [">", 0, "<=", 5]}"#, &["0", "5.1"]);
    rejects(r#"{"numeric": [">", 0]}"#, &["98765432109876543"]);
    are_invalid_tests(&[
        r#"{"numeric": []}"#,
        r#"{"numeric": 1}"#,
        r#"{"numeric": ["!=", 1]}"#,
        r#"{"numeric": ["=", "1"]}"#,
        r#"{"numeric": ["=", 1, 2]}"#,
        r#"{"numeric": [">=", 1, "<=", 1]}"#,
        r#"{"numeric": [">", 2, "<", 1]}"#,
        r#"{"numeric": ["<", 2, ">", 1]}"#,
        r#"{"numeric": [">", 98765432109876543]}"#,
        r#"{"numeric": ["<", 1e999]}"#,
    ]);
}

#[test]
fn addresses_are_compared_as_addresses() {
    accepts(r#""10.1.2.3""#, &[r#""10.1.2.3""#, r#""010.001.02.3""#]);
    rejects(r#""10.1.2.3""#, &[r#""10.1.2.4""#, r#"" 10.1.2.3""#]);
    accepts(
        r#""fe80::1""#,
        &[r#""FE80:0:0:0:0:0:0:1""#, r#""fe80::0001""#],
    );
    accepts(r#""::ffff:a01:203""#, &[r#""10.1.2.3""#]);
    // These only look like addresses.
    accepts(r#""10.1.2.300""#, &[r#""10.1.2.300""#]);
    rejects(r#""10.1.2.300""#, &[r#""10.1.2.0300""#]);
    rejects(r#""0000000010.1.2.3""#, &[r#""10.1.2.3""#]);
}

#[test]
fn addresses_lie_in_blocks() {
    accepts(
        r#"{"cidr": "10.1.2.99/24"}"#,
        &[r#""10.1.2.0""#, r#""10.1.2.255""#],
    );
    rejects(
        r#"{"cidr": "10.1.2.0/24"}"#,
        &[r#""10.1.3.0""#, r#""10.1.2""#, r#""a01:200::""#],
    );
    accepts(
        r#"{"cidr": "0.0.0.0/0"}"#,
        &[r#""255.255.255.255""#, r#""::ffff:1:1""#],
    );
    rejects(
        r#"{"cidr": "0.0.0.0/0"}"#,
        &[r#""::1""#, "10000000", r#""x""#],
    );
    accepts(r#"{"cidr": "fe80::/10"}"#, &[r#""febf::1""#]);
    rejects(r#"{"cidr": "fe80::/10"}"#, &[r#""fec0::""#]);
    are_invalid_tests(&[
        r#"{"cidr": "10.0.0.0"}"#,
        r#"{"cidr": "10.0.0.0/32"}"#,
        r#"{"cidr": "10.0.0.0/-1"}"#,
        r#"{"cidr": "10.0.0.0/8/8"}"#,
        r#"{"cidr": "10.0.0/8"}"#,
        r#"{"cidr": "::/128"}"#,
        r#"{"cidr": "::ffff:a01:203/32"}"#,
        r#"{"cidr": 10}"#,
    ]);
}

#[test]
fn only_leaves_exist() {
    accepts(
        r#"{"exists": true}"#,
        &["null", r#""""#, "0", "[1]", "[{}, 1]"],
    );
    rejects(r#"{"exists": true}"#, &["{}", "[]", r#"{"w": 1}"#, "[[]]"]);
    accepts(r#"{"exists": false}"#, &["{}", "[]", r#"{"w": 1}"#]);
    rejects(r#"{"exists": false}"#, &["null", "[1]"]);
    are_invalid_tests(&[
        r#"{"exists": "true"}"#,
        r#"{"exists": 1}"#,
        r#"{"exists": null}"#,
    ]);
}

#[test]
fn match_expressions_have_one_known_member() {
    are_invalid_tests(&[
        "",
        "{}",
        "[]",
        r#"["a"]"#,
        r#"{"Prefix": "a"}"#,
        r#"{"EXISTS": true}"#,
        r#"{"regex": "a"}"#,
        r#"{"prefix": "a", "suffix": "a"}"#,
        r#"{"prefix": "a", "prefix": "a"}"#,
    ]);
}
