//! Which addresses may be called: those that strangers name must not lead into our own network.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

/// Where calls may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reach {
    #[default]
    Anywhere,
    /// To addresses of the public internet, whatever a name says that leads elsewhere, and to these hosts.
    Public { besides: Vec<String> },
}

impl Reach {
    /// Whether the host of `url` may be called at all. What a name leads to is checked when it is looked up.
    pub fn check(&self, url: &Uri) -> Result<(), &'static str> {
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) if !self.names(host) && !self.allows(address) => Err(NOT_PUBLIC),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn names(&self, host: &str) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public { besides } => {
                besides.iter().any(|known| known.eq_ignore_ascii_case(host))
            }
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public { .. } => is_public(address),
        }
    }
}

const NOT_PUBLIC: &str = "it leads to an address that is not of the public internet";

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation();
    let reserved = match (a, b, c) {
        (0 | 240..=255, _, _)
        // Carriers' own, benchmarks, protocol assignments, relays.
        | (100, 64..=127, _)
        | (198, 18 | 19, _)
        | (192, 0, 0)
        | (192, 88, 99) => true,
        _ => false,
    };
    !special && !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // An address of version 4 in one of version 6 leads where that one leads.
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // Behind any other 64:ff9b a network has its own translation, and the address of version 4 is elsewhere.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
        // 6to4 leads elsewhere than it says, and what is below 2001:200 is of protocols, Teredo and benchmarks among them; the
        // rest are examples.
        [0x2002 | 0x3fff, ..] | [0x2001, 0..=0x1ff | 0xdb8, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

/// Looks names up, and leaves out what may not be called.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    inner: GaiResolver,
    reach: Arc<Reach>,
}

impl Resolver {
    pub(crate) fn new(reach: Reach) -> Self {
        Self { inner: GaiResolver::new(), reach: Arc::new(reach) }
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let named = self.reach.names(name.as_str());
        let (looking, reach) = (self.inner.call(name), Arc::clone(&self.reach));
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                looking.await?.filter(|found| named || reach.allows(found.ip())).collect();
            match found.is_empty() {
                true => Err(io::Error::new(io::ErrorKind::PermissionDenied, NOT_PUBLIC)),
                false => Ok(found.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public() -> Reach {
        Reach::Public { besides: vec!["hooks.internal".to_owned(), "10.0.0.7".to_owned()] }
    }

    #[test]
    fn only_addresses_of_the_public_internet_may_be_called() {
        let check = |url: &str, expected: bool| {
            assert_eq!(public().check(&url.parse().unwrap()).is_ok(), expected, "{url}");
            assert_eq!(Reach::Anywhere.check(&url.parse().unwrap()), Ok(()), "{url}");
        };
        for fine in [
            "http://93.184.215.14/x",
            "https://[2606:2800:21f:cb07::1]/",
            "https://example.org/",
            "http://10.0.0.7:8080/",
            "http://[64:ff9b::5db8:d70e]/",
        ] {
            check(fine, true);
        }
        for ours in [
            "http://127.0.0.1/",
            "http://10.0.0.8/",
            "http://172.16.3.4/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest",
            "http://100.100.100.200/",
            "http://0.0.0.0/",
            "http://255.255.255.255/",
            "http://198.18.0.1/",
            "http://224.0.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            // A network's own translation: of 10.0.0.1, and not of what its last bytes are.
            "http://[64:ff9b:1:a00:0:100:5db8:d70e]/",
            "http://[2001:2::1]/",
            "http://[2001:10::1]/",
            "http://[::7f00:1]/",
            "http://[fec0::1]/",
        ] {
            check(ours, false);
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_not_followed() {
        let lookup = async |reach: Reach, name: &str| {
            let name: Name = name.parse().unwrap();
            Resolver::new(reach).call(name).await.map(|found| found.count() > 0)
        };
        let refused = lookup(public(), "localhost").await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(lookup(Reach::Anywhere, "localhost").await.unwrap());
        // Not written as an address, and one to those who look names up.
        for address in ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost."] {
            assert!(lookup(public(), address).await.is_err(), "{address}");
        }
        let besides = Reach::Public { besides: vec!["LOCALHOST".to_owned()] };
        assert!(lookup(besides, "localhost").await.unwrap());
    }
}
