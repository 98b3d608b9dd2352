use std::{sync::atomic::Ordering, time::Duration};

use router_values::Proxy;
use tokio::time::Instant;

use super::{
    call, denied, failed, get, options, post,
    receiver::{Authority, Receiver, TunnelProxy},
    resolved,
};
use crate::{Algorithm, Egress, EgressError, SENDS_MAX, SecretError};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Who: me\r\n\r\nok";

#[tokio::test]
async fn a_request_arrives_with_its_secrets_and_its_answer_comes_back() {
    let mut receiver = Receiver::answering(OK).await;
    let egress = Egress::open(options(&[&receiver.http()], &[("key", "a\"b c")])).unwrap();
    let mut call = call(&egress);
    let key = call.placeholder("key").unwrap();
    let mut request = post(
        format!("{}/x?k={key}", receiver.http()),
        "application/json",
        format!("{{\"token\":\"{key}\"}}"),
    );
    request
        .headers
        .push(("X-Key".to_owned(), format!("v1 {key}")));
    let answer = call.send(request).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
    assert!(
        answer
            .headers
            .contains(&("x-who".to_owned(), "me".to_owned()))
    );
    let got = receiver.request().await;
    assert!(got.starts_with("POST /x?k=a%22b%20c HTTP/1.1\r\n"), "{got}");
    assert!(got.contains("x-key: v1 a\"b c\r\n"), "{got}");
    assert!(
        got.contains(&format!("host: {}\r\n", receiver.address)),
        "{got}"
    );
    assert!(got.ends_with("\r\n\r\n{\"token\":\"a\\\"b c\"}"), "{got}");
    assert_eq!(egress.secret_uses()["key"], 3);
}

#[tokio::test]
async fn a_secret_that_is_an_address_is_where_the_request_goes() {
    let mut receiver = Receiver::answering(OK).await;
    let hook = format!("{}/services/T0/B0/x", receiver.http());
    let egress = Egress::open(options(&[&receiver.http()], &[("hook", &hook)])).unwrap();
    let mut call = call(&egress);
    let token = call.placeholder("hook").unwrap();
    call.send(get(format!("{token}?wait=true"))).await.unwrap();
    let got = receiver.request().await;
    assert!(
        got.starts_with("GET /services/T0/B0/x?wait=true HTTP/1.1"),
        "{got}"
    );
}

#[tokio::test]
async fn nothing_goes_where_the_sink_may_not_send() {
    let mut receiver = Receiver::answering(OK).await;
    let hook = format!("{}/services/T0", receiver.http());
    let allow = ["https://hooks.slack.com"];
    let egress = Egress::open(options(&allow, &[("key", "hunter2"), ("hook", &hook)])).unwrap();
    let mut call = call(&egress);
    let (key, token) = (
        call.placeholder("key").unwrap(),
        call.placeholder("hook").unwrap(),
    );
    let url = format!("{}/?{key}", receiver.http());
    let reason = denied(call.send(get(url)).await);
    assert!(
        reason.contains(&receiver.http()),
        "it says what to add: {reason}"
    );
    let reason = denied(call.send(get(token)).await);
    assert!(
        reason.contains("secret hook") && !reason.contains("127.0.0.1"),
        "{reason}"
    );
    assert!(receiver.is_untouched());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let mut other = Receiver::answering(OK).await;
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n",
        other.http()
    );
    let receiver = Receiver::answering(&redirect).await;
    let egress = Egress::open(options(&[&receiver.http(), &other.http()], &[])).unwrap();
    let answer = call(&egress).send(get(receiver.http())).await.unwrap();
    assert_eq!(answer.status, 307);
    assert!(other.is_untouched());
}

#[tokio::test]
async fn a_name_is_resolved_once_and_what_was_checked_is_dialled() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.address.port();
    let name = format!("http://receiver.example:{port}");
    let here = receiver.address;
    let neighbour = format!("10.0.0.1:{port}").parse().unwrap();
    let public = format!("1.1.1.1:{port}").parse().unwrap();
    let written = options(&[&name, &receiver.http()], &[]);
    // Had it been asked again, the second answer would have been dialled.
    let (egress, asked) = resolved(written.clone(), &[&[here], &[neighbour]]);
    assert_eq!(call(&egress).send(get(&name)).await.unwrap().status, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let reason = denied(call(&egress).send(get(&name)).await);
    assert!(reason.contains("10.0.0.1, which is private"), "{reason}");
    // Every address is checked, also those that would not be tried.
    let (egress, _) = resolved(written, &[&[here, public, neighbour], &[]]);
    denied(call(&egress).send(get(&name)).await);
    let reason = failed(call(&egress).send(get(&name)).await);
    assert!(reason.contains("has no address"), "{reason}");
    // Without the address in `allow`, a name leads to no receiver of this machine.
    let (egress, _) = resolved(options(&[&name], &[]), &[&[here]]);
    let reason = denied(call(&egress).send(get(&name)).await);
    assert!(
        reason.contains(&format!("add \"http://127.0.0.1:{port}\"")),
        "{reason}"
    );
}

#[tokio::test]
async fn the_next_address_is_tried_where_one_refuses() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.address.port();
    let name = format!("http://localhost:{port}");
    // Nothing listens at this one, of the same block.
    let refusing = format!("127.0.0.2:{port}").parse().unwrap();
    let (egress, _) = resolved(options(&[&name], &[]), &[&[refusing, receiver.address]]);
    assert_eq!(call(&egress).send(get(&name)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_call_sends_so_often_and_no_more_and_ends_at_its_deadline() {
    let receiver = Receiver::answering(OK).await;
    let egress = Egress::open(options(&[&receiver.http()], &[])).unwrap();
    let mut flood = call(&egress);
    for _ in 0..SENDS_MAX {
        flood.send(get(receiver.http())).await.unwrap();
    }
    let refused = flood.send(get(receiver.http())).await;
    assert!(
        matches!(refused, Err(EgressError::Invalid(_))),
        "{refused:?}"
    );
    let mut late = egress.begin(Instant::now() - Duration::from_millis(1));
    let late = late.send(get("http://10.255.255.1/")).await;
    assert!(
        matches!(late, Err(EgressError::Denied(_) | EgressError::TimedOut)),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_and_sees_nothing_of_what_goes_through() {
    let authority = Authority::new();
    let tls = authority.vouch(&["alerts.example"], |_| {});
    let answer = super::receiver::Behaviour::Answer(OK.as_bytes().to_vec());
    let mut receiver = Receiver::start(Some(tls), answer).await;
    let mut proxy = TunnelProxy::start(
        receiver.address,
        "HTTP/1.1 200 Connection established\r\n\r\n",
    )
    .await;
    let mut options = options(&["https://alerts.example"], &[("key", "hunter2")]);
    options.ca_file = Some(authority.ca_file());
    options.proxy = Some(Proxy::parse(&format!("http://ann:pw@{}", proxy.address)).unwrap());
    let egress = Egress::open(options).unwrap();
    let mut sending = call(&egress);
    let key = sending.placeholder("key").unwrap();
    let answer = sending
        .send(get(format!("https://alerts.example/{key}")))
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        receiver
            .request()
            .await
            .starts_with("GET /hunter2 HTTP/1.1")
    );
    let asked = proxy.asked().await;
    assert!(
        asked.starts_with("CONNECT alerts.example:443 HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        asked.contains("Proxy-Authorization: Basic YW5uOnB3\r\n"),
        "{asked}"
    );
    assert!(!asked.contains("hunter2"), "{asked}");
    denied(call(&egress).send(get("https://other.example/")).await);
}

#[tokio::test]
async fn a_proxy_that_gives_no_tunnel_is_a_failure_with_its_status() {
    let receiver = Receiver::answering(OK).await;
    for (answer, expected) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "it answered \"407\"",
        ),
        ("SSH-2.0-OpenSSH_10.0\r\n\r\n", "it answered"),
    ] {
        let proxy = TunnelProxy::start(receiver.address, answer).await;
        let mut options = options(&["http://alerts.example"], &[]);
        options.proxy = Some(Proxy::parse(&format!("http://ann:pw@{}", proxy.address)).unwrap());
        let egress = Egress::open(options).unwrap();
        let reason = failed(call(&egress).send(get("http://alerts.example/")).await);
        assert!(
            reason.contains(expected) && !reason.contains("pw"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_signature_is_made_with_a_secret_that_stays_here() {
    let egress = Egress::open(options(&[], &[("key", "Jefe")])).unwrap();
    let call = call(&egress);
    let bytes = b"what do ya want for nothing?";
    let signed = call.sign("key", Algorithm::HmacSha256, bytes).unwrap();
    assert_eq!(signed[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    let unknown = call.sign("other", Algorithm::HmacSha256, bytes);
    assert_eq!(unknown, Err(SecretError::Unknown));
    assert_eq!(egress.secret_uses()["key"], 1);
    assert!(!format!("{egress:?} {call:?}").contains("Jefe"));
}
