use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{
    DEPTH_MAX, Envelope, EnvelopeError, MessageShape, NAME_BYTES_MAX, fold::is_taken_for,
    is_deeper_than, member, progress_token, range_in, splice, split_batch, string_of,
};

fn parse(text: &str) -> Result<Envelope<'_>, EnvelopeError> {
    Envelope::parse(text.as_bytes()).map(|(_, envelope)| envelope)
}

#[test]
fn ids_keep_their_type_and_spelling() {
    let cases = [
        r#""abc""#,
        r#""a\u0041\"""#,
        "0",
        "-7",
        "12345678901234567890123456789",
        "1.0",
        "1e3",
        "null",
    ];
    for id in cases {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let envelope = parse(&text).unwrap();
        assert_eq!(envelope.id, Some(id));
        assert_eq!(envelope.shape(), MessageShape::Request);
    }
}

#[test]
fn what_is_kept_of_a_request_is_short() {
    for (length, is_kept) in [(NAME_BYTES_MAX - 2, true), (NAME_BYTES_MAX - 1, false)] {
        let name = "x".repeat(length);
        let texts = [
            format!(r#"{{"jsonrpc":"2.0","id":"{name}","method":"ping"}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{name}12"}}"#),
        ];
        for text in texts {
            assert_eq!(parse(&text).is_ok(), is_kept, "{length}");
        }
        let params = format!(r#"{{"_meta":{{"progressToken":"{name}"}}}}"#);
        assert_eq!(progress_token(&params).is_ok(), is_kept, "{length}");
    }
}

#[test]
fn shapes_are_distinguished() {
    let cases = [
        (
            r#"{"jsonrpc":"2.0","method":"m"}"#,
            MessageShape::Notification,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#,
            MessageShape::Request,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            MessageShape::Response,
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1}}"#,
            MessageShape::Response,
        ),
        (r#"{"jsonrpc":"2.0","id":1}"#, MessageShape::Nothing),
        (r#"{"jsonrpc":"2.0","result":1}"#, MessageShape::Nothing),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#,
            MessageShape::Nothing,
        ),
        ("{}", MessageShape::Nothing),
    ];
    for (text, shape) in cases {
        assert_eq!(parse(text).unwrap().shape(), shape, "{text}");
    }
}

#[test]
fn what_is_no_message_gets_the_reason() {
    let cases: [(&[u8], i64, &str); 17] = [
        (b"", -32700, "EOF"),
        (b"hello", -32700, "expected value"),
        (b"{", -32700, "EOF"),
        (
            br#"{"jsonrpc":"2.0","id":1,"method":"m"} x"#,
            -32700,
            "trailing",
        ),
        (b"{\"id\":\"\xff\"}", -32700, "byte 7"),
        (b"{\"id\":\"a\nb\"}", -32700, "control character"),
        (b"[]", -32600, "is a batch"),
        (b" [{}]", -32600, "is a batch"),
        (b"3", -32600, "not an object"),
        (br#"{"id":{}}"#, -32600, "neither a string"),
        (br#"{"id":true}"#, -32600, "neither a string"),
        (br#"{"id":1,"id":2}"#, -32600, "given twice"),
        (br#"{"method":5}"#, -32600, "not a string"),
        (br#"{"method":"m","ID":1}"#, -32600, "only in case"),
        (br#"{"method":"m","\u0049d":1}"#, -32600, "only in case"),
        (br#"{"method":"m","re\u017Fult":1}"#, -32600, "only in case"),
        (br#"{"method":"m","JSONRPC":"2.0"}"#, -32600, "only in case"),
    ];
    for (bytes, code, text) in cases {
        let error = Envelope::parse(bytes).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn depth_is_bounded_whatever_it_is_made_of() {
    let nested = |open: &str, close: &str, depth: usize| {
        let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{value}}}"#)
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        assert!(parse(&nested(open, close, DEPTH_MAX - 1)).is_ok());
        assert_eq!(
            parse(&nested(open, close, DEPTH_MAX)),
            Err(EnvelopeError::TooDeep)
        );
        assert_eq!(
            parse(&nested(open, close, 1_000_000)),
            Err(EnvelopeError::TooDeep)
        );
    }
    // Brackets in strings, and many side by side, are not depth.
    let wide = format!(
        r#"{{"method":"m","params":["{}\"{}",{}1]}}"#,
        "[".repeat(5000),
        "{".repeat(5000),
        "[],".repeat(5000)
    );
    assert!(parse(&wide).is_ok());
}

#[test]
fn progress_tokens_are_found_however_they_are_spelled() {
    let cases = [
        (r#"{"_meta":{"progressToken":7}}"#, Some("7")),
        (
            r#"{"name":"x","_meta":{"a":1,"progressToken":"t"}}"#,
            Some("\"t\""),
        ),
        (r#"{"_meta":{"progress\u0054oken":7}}"#, Some("7")),
        (r#"{"\u005fmeta":{"progressToken":7}}"#, Some("7")),
        (r#"{"_meta":{"progressToken":null}}"#, None),
        (r#"{"arguments":{"progressToken":7}}"#, None),
        (r#"{"_meta":[{"progressToken":7}]}"#, None),
        (r#"{"text":"progressToken"}"#, None),
        ("[]", None),
        ("{}", None),
    ];
    for (params, token) in cases {
        assert_eq!(progress_token(params).unwrap(), token, "{params}");
    }
    assert!(progress_token(r#"{"_meta":{"progressToken":1,"progressToken":2}}"#).is_err());
    assert!(progress_token(r#"{"_meta":{"progressToken":1},"_meta":{}}"#).is_err());
    for taken in [
        r#"{"_META":{"progressToken":1}}"#,
        r#"{"_meta":{"progressToken":1},"_Meta":{"progressToken":2}}"#,
        r#"{"_meta":{"ProgressToken":1}}"#,
        r#"{"_meta":{"progressTo\u212aen":1}}"#,
        "{\"_meta\":{\"progre\u{17f}sToken\":1}}",
        r#"{"\u005fMETA":{"progressToken":1}}"#,
    ] {
        let error = progress_token(taken).unwrap_err().to_string();
        assert!(error.contains("only in case"), "{taken}: {error}");
    }
}

#[test]
fn a_spliced_message_is_one_line() {
    let text = "{\n  \"id\": 5,\r\n  \"params\": {\"a\": \"x\\ny\"}\n}";
    let envelope = parse(text).unwrap();
    let mut out = b"before\n".to_vec();
    splice(
        &mut out,
        text,
        &[(range_in(text, envelope.id.unwrap()), b"\"new\"")],
    );
    let expected = "before\n{   \"id\": \"new\",    \"params\": {\"a\": \"x\\ny\"} }";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn strings_are_unescaped_only_where_they_must_be() {
    assert_eq!(string_of(r#""plain""#).as_deref(), Some("plain"));
    assert_eq!(string_of(r#""a\"b\u00e9""#).as_deref(), Some("a\"bé"));
    assert_eq!(string_of("5"), None);
    assert_eq!(string_of(r#"""#), None);
}

#[test]
fn what_json_rpc_does_not_know_is_not_passed_on() {
    for (text, stripped) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":1}}"#,
            None,
        ),
        (
            r#"{"x":{"id":2},"id":1,"jsonrpc":"2.0","params": {"x":1},"method":"m\/\u006e","":0}"#,
            Some(r#"{"jsonrpc":"2.0","id":1,"method":"m/n","params":{"x":1}}"#),
        ),
        (
            r#"{"jsonrpc":"2.0","id":"7","result":[1, 2],"_meta":{}}"#,
            Some(r#"{"jsonrpc":"2.0","id":"7","result":[1, 2]}"#),
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1},"extra":true}"#,
            Some(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1}}"#),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"n","id2":1}"#,
            Some(r#"{"jsonrpc":"2.0","method":"n"}"#),
        ),
    ] {
        let found = parse(text).unwrap().stripped();
        assert_eq!(found.as_deref(), stripped, "{text}");
        if let Some(found) = found {
            assert_eq!(Envelope::of_stripped(&found).stripped(), None, "{text}");
        }
    }
}

fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        r#"[\[\]{}"\\:,]{0,12}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
    .boxed()
}

fn any_message() -> impl Strategy<Value = Map<String, Value>> {
    let id = prop_oneof![
        any::<i64>().prop_map(Value::from),
        ".{0,10}".prop_map(Value::from),
        Just(Value::Null)
    ];
    let part = prop::option::of(any_json()).boxed();
    (
        prop::option::of(id),
        prop::option::of(".{0,12}"),
        part.clone(),
        part.clone(),
        part.clone(),
        part,
    )
        .prop_map(|(id, method, params, result, error, other)| {
            let mut message = Map::new();
            let mut put = |key: &str, value: Option<Value>| {
                if let Some(value) = value {
                    message.insert(key.to_owned(), value);
                }
            };
            put("jsonrpc", Some(json!("2.0")));
            put("id", id);
            put("method", method.map(Value::from));
            put("params", params);
            put("result", result);
            put("error", error);
            put("other", other);
            message
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_part_reads_as_the_full_parser_reads_it(message in any_message(), is_pretty in any::<bool>()) {
        let value = Value::Object(message);
        let text = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let message: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let envelope = parse(&text).unwrap();
        let parts = [
            ("id", envelope.id),
            ("params", envelope.params),
            ("result", envelope.result),
            ("error", envelope.error),
        ];
        for (name, raw) in parts {
            let read = raw.map(|raw| serde_json::from_str::<Value>(raw).unwrap());
            prop_assert_eq!(read.as_ref(), message.get(name));
        }
        prop_assert_eq!(envelope.method.as_deref(), message.get("method").and_then(Value::as_str));
        // Replacing the id changes the id and nothing else.
        if let Some(id) = envelope.id {
            let mut line = Vec::new();
            splice(&mut line, &text, &[(range_in(&text, id), b"\"e1.9\"")]);
            prop_assert!(!line.contains(&b'\n'));
            let mut expected = message;
            expected.insert("id".to_owned(), json!("e1.9"));
            prop_assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), Value::Object(expected));
        }
    }

    #[test]
    fn members_read_as_the_full_parser_reads_them(value in any_json(), name in ".{0,3}") {
        let text = value.to_string();
        let value: Value = serde_json::from_str(&text).unwrap();
        let mut names = value.as_object().into_iter().flat_map(Map::keys);
        let is_ambiguous = names.any(|other| is_taken_for(other, &name));
        prop_assert_eq!(member(&text, &name).is_err(), is_ambiguous);
        prop_assume!(!is_ambiguous);
        let found = member(&text, &name).unwrap().map(|raw| serde_json::from_str::<Value>(raw).unwrap());
        prop_assert_eq!(found.as_ref(), value.as_object().and_then(|object| object.get(&name)));
    }

    #[test]
    fn no_bytes_at_all_break_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::parse(&bytes);
    }

    #[test]
    fn depth_is_measured_as_it_is(value in any_json(), limit in 1_usize..8) {
        fn depth(value: &Value) -> usize {
            match value {
                Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
                Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
                _ => 0,
            }
        }
        prop_assert_eq!(is_deeper_than(&value.to_string(), limit), depth(&value) > limit);
    }
}

#[test]
fn batches_are_taken_apart_within_a_bound() {
    let cases: [(&str, Result<&[&str], &str>); 7] = [
        (
            r#"[{"id":1}, [2] ,"x"]"#,
            Ok(&[r#"{"id":1}"#, "[2]", "\"x\""]),
        ),
        ("[1,2,3,4]", Ok(&["1", "2", "3", "4"])),
        ("[]", Err("empty")),
        ("[1,2,3,4,5]", Err("more than 4 messages")),
        ("[1,]", Err("trailing comma")),
        ("[1] 2", Err("trailing characters")),
        ("{}", Err("a batch of messages")),
    ];
    for (text, expected) in cases {
        let split = split_batch(text, 4).map_err(|error| error.to_string());
        match (&split, expected) {
            (Ok(messages), Ok(expected)) => assert_eq!(messages, expected, "{text}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            _ => panic!("{text}: {split:?}"),
        }
    }
    let deep = format!("[{}1{}]", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(split_batch(&deep, 4).map(|messages| messages.len()), Ok(1));
}

#[test]
fn the_tool_of_a_call_is_found_wherever_it_stands() {
    for (params, tool, leading) in [
        (r#"{"name":"work"}"#, Some("work"), Some("work")),
        (
            r#" { "name" : "work", "arguments": {"name": "x"}}"#,
            Some("work"),
            Some("work"),
        ),
        (
            r#"{"arguments":{"name":"x"},"name":"work"}"#,
            Some("work"),
            Some("work"),
        ),
        // Spelled with escapes.
        (r#"{"name":"w\u006frk"}"#, Some("work"), Some("work")),
        (r#"{"n\u0061me":"work"}"#, Some("work"), Some("work")),
        (r#"{"name":"a\"b"}"#, Some("a\"b"), Some("a\"b")),
        (r#"{"name":""}"#, Some(""), Some("")),
        (r#"{"name":7}"#, None, None),
        (r#"{"named":"work"}"#, None, None),
        (r#"{}"#, None, None),
        (r#"["name","work"]"#, None, None),
        // Which of them is meant is the instance's business.
        (r#"{"name":"a","name":"b"}"#, None, Some("a")),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let envelope = parse(&text).unwrap();
        assert_eq!(envelope.tool().as_deref(), tool, "{params}");
        assert_eq!(envelope.leading_tool().as_deref(), leading, "{params}");
        let other = text.replace("tools/call", "prompts/get");
        assert_eq!(parse(&other).unwrap().leading_tool(), None, "{params}");
    }
}
