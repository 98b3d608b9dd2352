use super::{FdKind, FromShim, Hello, OnRouterExit, PROTOCOL, SlotState, ToShim, Welcome};

#[test]
fn a_message_from_a_newer_peer_is_recognised_as_unknown() {
    let newer = r#"{"type":"rewind","to":7,"deep":{"x":[1]}}"#;
    assert_eq!(
        serde_json::from_str::<ToShim>(newer).unwrap(),
        ToShim::Unknown
    );
    assert_eq!(
        serde_json::from_str::<FromShim>(newer).unwrap(),
        FromShim::Unknown
    );
    assert_eq!(
        serde_json::from_str::<FdKind>("\"gpu\"").unwrap(),
        FdKind::Unknown
    );
}

#[test]
fn fields_of_a_newer_peer_are_ignored() {
    let newer = r#"{"type":"welcome","protocol":1,"shim_version":"9","state":"hibernating","pid":4,"mood":"calm"}"#;
    let expected = Welcome {
        protocol: 1,
        shim_version: "9".into(),
        state: SlotState::Unknown,
        pid: Some(4),
    };
    assert_eq!(
        serde_json::from_str::<FromShim>(newer).unwrap(),
        FromShim::Welcome(expected)
    );
}

#[test]
fn the_newest_protocol_that_both_speak_holds() {
    let hello = |protocol, protocol_oldest| Hello {
        protocol,
        protocol_oldest,
        router_id: "r".into(),
        epoch: 1,
    };
    assert_eq!(hello(PROTOCOL, PROTOCOL).agreed(), Some(PROTOCOL));
    assert_eq!(hello(PROTOCOL + 5, PROTOCOL).agreed(), Some(PROTOCOL));
    assert_eq!(hello(PROTOCOL + 5, PROTOCOL + 1).agreed(), None);
    assert_eq!(hello(0, 0).agreed(), None);
}

#[test]
fn the_values_of_the_configuration_are_those_of_the_wire() {
    assert_eq!(
        serde_json::to_string(&OnRouterExit::Keep).unwrap(),
        "\"keep\""
    );
    assert_eq!(
        serde_json::to_string(&OnRouterExit::Stop).unwrap(),
        "\"stop\""
    );
}
