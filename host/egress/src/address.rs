//! Which addresses are anybody's: reachable over the internet, and nothing of this machine, its networks or its cloud.
//!
//! By the registries of special-purpose addresses (RFC 6890, kept at IANA), not by `IpAddr::is_global`, which is not stable. What is
//! not plainly public is not: of IPv6 only what is given out (2000::/3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is, by the block that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Anybody's.
    Public,
    /// Somebody's own: this machine, or a network behind a router. The word is for messages.
    Private(&'static str),
    /// Nobody's: what no single machine has, and link-local addresses, where clouds keep the credentials of their machines.
    Unusable(&'static str),
}

impl Scope {
    /// Of an address; one that holds an IPv4 address is what that one is.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [0, ..] => Self::Unusable("unspecified"),
            [127, ..] => Self::Private("a loopback address"),
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [198, 18..=19, ..] => {
                Self::Private("private")
            }
            [100, 64..=127, ..] => Self::Private("shared by a carrier's customers"),
            [169, 254, ..] => Self::Unusable("link-local"),
            [224..=239, ..] => Self::Unusable("multicast"),
            [240..=255, ..] => Self::Unusable("reserved"),
            // Of protocols, of documentation, and of the old relays between the two internets.
            [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => {
                Self::Unusable("reserved")
            }
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let segments = address.segments();
        match segments {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unusable("unspecified"),
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Private("a loopback address"),
            // A network without IPv4 reaches that internet through these (RFC 6052).
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                let [[a, b], [c, d]] = [high, low].map(u16::to_be_bytes);
                Self::of_v4(Ipv4Addr::new(a, b, c, d))
            }
            [0xfc00..=0xfdff, ..] => Self::Private("private"),
            [0xfe80..=0xfebf, ..] => Self::Unusable("link-local"),
            [0xff00..=0xffff, ..] => Self::Unusable("multicast"),
            // Protocols, documentation, and tunnels that lead to any IPv4 address: 2001::/23, 2001:db8::/32, 2002::/16, 3fff::/20.
            [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => {
                Self::Unusable("reserved")
            }
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Unusable("reserved"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Scope;

    fn scope(text: &str) -> &'static str {
        match Scope::of(text.parse::<IpAddr>().unwrap()) {
            Scope::Public => "public",
            Scope::Private(_) => "private",
            Scope::Unusable(_) => "unusable",
        }
    }

    #[test]
    fn only_what_is_plainly_public_is() {
        let public = "1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 192.1.0.1 198.17.0.1 198.20.0.1 223.255.255.255
            2606:4700::1 2a00:1450::1 2001:200::1 64:ff9b::808:808 ::ffff:1.1.1.1";
        let private = "127.0.0.1 127.255.255.255 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.0.1 198.18.0.1
            ::1 fc00::1 fdff::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1";
        let unusable = "0.0.0.0 0.1.2.3 169.254.169.254 169.254.0.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 192.0.0.1
            192.0.2.1 198.51.100.1 203.0.113.1 192.88.99.1 :: fe80::1 febf::1 ff02::1 ::127.0.0.1 ::ffff:169.254.169.254
            64:ff9b::a9fe:a9fe 64:ff9b:1::1 2001::1 2001:10::1 2001:db8::1 2002:7f00:1::1 3fff::1 4000::1 fec0::1 100::1";
        for (addresses, expected) in [
            (public, "public"),
            (private, "private"),
            (unusable, "unusable"),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(scope(address), expected, "{address}");
            }
        }
    }
}
