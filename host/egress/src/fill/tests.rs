use std::collections::BTreeMap;

use proptest::prelude::*;
use router_values::Secret;

use super::{Filled, Placeholders, TOKEN_BYTES, fill};
use crate::{
    message::{BODY_BYTES_MAX, EgressError, EgressRequest},
    secrets::Secrets,
};

const NASTY: &str = "p\"q\\r/s&t=u v%w\u{e9}";

fn secrets() -> Secrets {
    let pairs = [
        ("key", NASTY),
        ("plain", "hunter2"),
        ("lines", "a\r\nX-Evil: b"),
        ("hook", "https://hooks.example/services/T0/B0/x?y=1"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), Secret::new(value)));
    Secrets::new(BTreeMap::from(pairs)).unwrap()
}

/// A request in which `{NAME}` is the placeholder of the secret NAME.
fn filled(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Filled, EgressError> {
    let secrets = secrets();
    let mut placeholders = Placeholders::default();
    let mut put = |text: &str| {
        ["key", "plain", "lines", "hook"]
            .iter()
            .fold(text.to_owned(), |text, name| {
                let token = placeholders.token(&secrets, name).unwrap();
                text.replace(&format!("{{{name}}}"), &token)
            })
    };
    let request = EgressRequest {
        method: put(method),
        url: put(url),
        headers: headers
            .iter()
            .map(|(name, value)| (put(name), put(value)))
            .collect(),
        body: put(body).into_bytes(),
    };
    fill(&secrets, &placeholders, request)
}

fn url_of(url: &str) -> Result<String, EgressError> {
    let filled = filled("POST", url, &[], "")?;
    Ok(format!("{}{}", filled.target.origin, filled.target.path))
}

fn body_of(content_type: &str, body: &str) -> Result<String, EgressError> {
    let filled = filled(
        "POST",
        "https://a.example/",
        &[("content-type", content_type)],
        body,
    )?;
    Ok(String::from_utf8(filled.request.into_body()).unwrap())
}

fn is_misplaced<T: std::fmt::Debug>(filled: Result<T, EgressError>) -> String {
    match filled {
        Err(EgressError::MisplacedSecret(reason)) => reason,
        other => panic!("expected a misplaced secret, not {other:?}"),
    }
}

#[test]
fn each_place_has_its_own_way_to_write_a_secret() {
    let percent = "p%22q%5Cr%2Fs%26t%3Du%20v%25w%C3%A9";
    assert_eq!(
        url_of("https://a.example/x/{key}/y?z={key}").unwrap(),
        format!("https://a.example/x/{percent}/y?z={percent}")
    );
    let written = filled(
        "GET",
        "https://a.example/",
        &[("authorization", "Bearer {key}")],
        "",
    );
    let headers = written.unwrap().request.into_parts().0.headers;
    assert_eq!(
        headers["authorization"].as_bytes(),
        format!("Bearer {NASTY}").as_bytes()
    );
    for json in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.x+json",
    ] {
        let body = body_of(json, "{\"a\":[\"b {key} c {key}\"]}").unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["a"][0], format!("b {NASTY} c {NASTY}"));
    }
    let form = body_of("application/x-www-form-urlencoded", "token={key}&b=c").unwrap();
    assert_eq!(form, format!("token={percent}&b=c"));
}

#[test]
fn an_address_is_the_beginning_of_the_url_and_stands_nowhere_else() {
    let hook = "https://hooks.example/services/T0/B0/x?y=1";
    assert_eq!(url_of("{hook}").unwrap(), hook);
    assert_eq!(
        url_of("{hook}&wait=true").unwrap(),
        format!("{hook}&wait=true")
    );
    for url in [
        "{hook}.evil.example/",
        "{hook}@evil.example/",
        "{hook}{plain}",
        "https://evil.example/{hook}",
        "https://evil.example/?to={hook}",
    ] {
        is_misplaced(url_of(url));
    }
    is_misplaced(filled("GET", "https://a.example/", &[("x", "{hook}")], ""));
    is_misplaced(body_of("application/json", "{\"a\":\"{hook}\"}"));
}

#[test]
fn elsewhere_a_secret_is_refused() {
    for url in [
        "{plain}/x",
        "https://{plain}/",
        "https://{plain}.evil.example/",
        "https://a.example:{plain}/",
        "{plain}://a.example/",
        "https://{plain}@a.example/",
    ] {
        is_misplaced(url_of(url));
    }
    is_misplaced(filled("{plain}", "https://a.example/", &[], ""));
    is_misplaced(filled(
        "GET",
        "https://a.example/",
        &[("x-{plain}", "y")],
        "",
    ));
    let reason = is_misplaced(filled("GET", "https://a.example/", &[("x", "{lines}")], ""));
    assert!(
        reason.contains("line ends") && !reason.contains("Evil"),
        "{reason}"
    );
    for (content_type, body) in [
        ("text/plain", "{plain}"),
        ("application/octet-stream", "{plain}"),
        ("application/json", "{\"a\":{plain}}"),
        ("application/json", "{\"a\":\"\\{plain}\"}"),
        ("application/json", "{plain}"),
        ("application/jsonp", "\"{plain}\""),
    ] {
        is_misplaced(body_of(content_type, body));
    }
    is_misplaced(filled("POST", "https://a.example/", &[], "\"{plain}\""));
    let twice = [
        ("content-type", "application/json"),
        ("content-type", "text/plain"),
    ];
    is_misplaced(filled("POST", "https://a.example/", &twice, "\"{plain}\""));
    let many = format!("[{}\"\"]", "\"{plain}\",".repeat(65));
    is_misplaced(body_of("application/json", &many));
}

#[test]
fn only_the_tokens_of_the_call_are_placeholders() {
    let secrets = secrets();
    let mut before = Placeholders::default();
    let old = before.token(&secrets, "plain").unwrap();
    let mut placeholders = Placeholders::default();
    let token = placeholders.token(&secrets, "plain").unwrap();
    assert_ne!(old, token);
    assert_eq!(token, placeholders.token(&secrets, "plain").unwrap());
    assert!(placeholders.token(&secrets, "other").is_err());
    // What strangers may have written into an alert, and what a secret may happen to hold.
    let text = format!(
        "secret plain {{plain}} ${{plain}} {old} {} {} secretsecret",
        &token[..TOKEN_BYTES - 1],
        token.to_uppercase()
    );
    let request = EgressRequest {
        method: "POST".to_owned(),
        url: "https://a.example/".to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: format!("\"{text} secret{token}\"").into_bytes(),
    };
    let filled = fill(&secrets, &placeholders, request).unwrap();
    let body = String::from_utf8(filled.request.into_body()).unwrap();
    assert_eq!(body, format!("\"{text} secrethunter2\""));
}

#[test]
fn a_request_keeps_to_what_its_interface_states() {
    let url = |bytes: usize| format!("https://a.example/{}", "x".repeat(bytes - 18));
    assert!(filled("PUT", &url(2_048), &[], "").is_ok());
    let many = vec![("x", "y"); 65];
    let long = "x".repeat(BODY_BYTES_MAX + 1);
    let wide = "x".repeat(17_000);
    for refused in [
        filled("PUT", &url(2_049), &[], ""),
        filled("PUT", "https://a.example/", &many, ""),
        filled("PUT", "https://a.example/", &[("x", &wide)], ""),
        filled("PUT", "https://a.example/", &[], &long),
        filled("get", "https://a.example/", &[], ""),
        filled("CONNECT", "https://a.example/", &[], ""),
        filled("GET", "https://a.example/", &[("x y", "z")], ""),
        filled("GET", "https://a.example/", &[("x", "a\r\nb: c")], ""),
        filled("GET", "https://a.example/", &[("Host", "b.example")], ""),
        filled("GET", "https://a.example/", &[("content-length", "0")], ""),
        filled(
            "GET",
            "https://a.example/",
            &[("Transfer-Encoding", "chunked")],
            "",
        ),
        filled(
            "GET",
            "https://a.example/",
            &[("accept-encoding", "gzip")],
            "",
        ),
        filled("GET", "https://a.example/", &[("range", "bytes=0-3")], ""),
    ] {
        assert!(
            matches!(refused, Err(EgressError::Invalid(_))),
            "{refused:?}"
        );
    }
}

#[test]
fn a_request_says_to_whom_it_goes_and_by_whom_it_was_sent() {
    let of = |headers: &[(&str, &str)]| {
        let filled = filled("GET", "https://a.example:8443/x", headers, "").unwrap();
        filled.request.into_parts().0.headers
    };
    let headers = of(&[]);
    assert_eq!(headers["host"], "a.example:8443");
    assert_eq!(headers["accept-encoding"], "identity");
    assert!(
        headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("godot-mcp-router/")
    );
    assert_eq!(of(&[("User-Agent", "mine")])["user-agent"], "mine");
}

proptest! {
    /// Whatever surrounds a token in a JSON body that a serializer made, the body stays what it was with the secret in it.
    #[test]
    fn a_secret_in_json_changes_nothing_around_it(before in ".{0,40}", after in ".{0,40}", key in ".{0,10}") {
        let secrets = secrets();
        let mut placeholders = Placeholders::default();
        let token = placeholders.token(&secrets, "key").unwrap();
        let body = serde_json::json!({ key.clone(): format!("{before}{token}{after}") });
        let request = EgressRequest {
            method: "POST".to_owned(),
            url: "https://a.example/".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        };
        let filled = fill(&secrets, &placeholders, request).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(filled.request.body()).unwrap();
        prop_assert_eq!(sent, serde_json::json!({ key: format!("{before}{NASTY}{after}") }));
    }

    /// Whatever a sink composes, its secrets go to no host that it chose by one.
    #[test]
    fn a_url_with_a_secret_in_it_leads_where_it_did(before in "[!-~]{0,12}", after in "[!-~]{0,12}") {
        let secrets = secrets();
        let mut placeholders = Placeholders::default();
        let token = placeholders.token(&secrets, "plain").unwrap();
        let compose = |middle: &str| EgressRequest {
            method: "GET".to_owned(),
            url: format!("https://{before}{middle}{after}"),
            ..EgressRequest::default()
        };
        if let Ok(filled) = fill(&secrets, &placeholders, compose(&token)) {
            let bare = fill(&secrets, &placeholders, compose("hunter2")).unwrap();
            prop_assert_eq!(filled.target, bare.target);
            let end = before.find('/').or(before.find('?'));
            prop_assert!(end.is_some(), "it stood in the host");
        }
    }
}
