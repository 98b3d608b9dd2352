use super::{
    call, failed, get, options,
    receiver::{Authority, Behaviour, Receiver},
    resolved,
};
use crate::{Egress, EgressOptions, InvalidEgress};

fn answer() -> Behaviour {
    Behaviour::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
}

fn trusting(authority: &Authority, options: EgressOptions) -> EgressOptions {
    EgressOptions {
        ca_file: Some(authority.ca_file()),
        ..options
    }
}

#[tokio::test]
async fn a_receiver_with_a_certificate_of_the_given_authority_is_believed() {
    let authority = Authority::new();
    let tls = authority.vouch(&["alerts.example", "127.0.0.1"], |_| {});
    let mut receiver = Receiver::start(Some(tls), answer()).await;
    let name = format!("https://alerts.example:{}", receiver.address.port());
    let options = trusting(&authority, options(&[&name, &receiver.https()], &[]));
    let (egress, _) = resolved(options, &[&[receiver.address]]);
    for url in [name, receiver.https()] {
        assert_eq!(call(&egress).send(get(url)).await.unwrap().body, b"ok");
        assert!(receiver.request().await.starts_with("GET / HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_wrong_certificate_is_refused_before_anything_is_sent() {
    let (authority, other) = (Authority::new(), Authority::new());
    let right = ["127.0.0.1"];
    let expired = |params: &mut rcgen::CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    };
    for (tls, reason) in [
        (other.vouch(&right, |_| {}), "BadSignature"),
        (authority.vouch(&["10.0.0.1"], |_| {}), "not valid for name"),
        (
            authority.vouch(&["alerts.example"], |_| {}),
            "not valid for name",
        ),
        (authority.vouch(&right, expired), "expired"),
    ] {
        let mut receiver = Receiver::start(Some(tls), answer()).await;
        let options = options(&[&receiver.https()], &[("key", "hunter2")]);
        let egress = Egress::open(trusting(&authority, options)).unwrap();
        let mut call = call(&egress);
        let key = call.placeholder("key").unwrap();
        let refused = failed(call.send(get(format!("{}/{key}", receiver.https()))).await);
        assert!(refused.contains(reason), "{refused}");
        let got = receiver.request().await;
        assert!(
            got.starts_with("TLS: ") && !got.contains("hunter2"),
            "{got}"
        );
    }
}

#[tokio::test]
async fn an_authority_of_ones_own_is_not_trusted_by_itself() {
    let authority = Authority::new();
    let tls = authority.vouch(&["127.0.0.1"], |_| {});
    let receiver = Receiver::start(Some(tls), answer()).await;
    let egress = Egress::open(options(&[&receiver.https()], &[])).unwrap();
    failed(call(&egress).send(get(receiver.https())).await);
    // What speaks no TLS is no receiver of https either.
    let plain = Receiver::plain(answer()).await;
    let options = trusting(&authority, options(&[&plain.https()], &[]));
    let egress = Egress::open(options).unwrap();
    failed(call(&egress).send(get(plain.https())).await);
}

#[test]
fn a_ca_file_that_holds_none_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    for text in [
        None,
        Some(""),
        Some("-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n"),
    ] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let refused = Egress::open(EgressOptions {
            ca_file: Some(path.clone()),
            ..EgressOptions::default()
        });
        assert!(
            matches!(refused, Err(InvalidEgress::CaFile { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn secrets_that_are_none_are_refused_by_name() {
    let reason = |value: &str| {
        let refused = Egress::open(options(&[], &[("key", value)])).unwrap_err();
        refused.to_string()
    };
    assert_eq!(reason(""), "the secret key is empty");
    assert!(reason(&"x".repeat(9_000)).starts_with("the secret key has more than"));
}
