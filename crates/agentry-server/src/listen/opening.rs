//! Tells the protocol from the first bytes of a connection, within a deadline.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until the protocol is clear. `None` when the other side said nothing in time, or went away.
///
/// A connection that begins like HTTP/2 must finish the preface: the HTTP library would wait for the rest for ever.
pub(super) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    first_byte: Duration,
    preface: Duration,
) -> io::Result<Option<(Protocol, Bytes)>> {
    let mut bytes = BytesMut::with_capacity(1024);
    let Ok(read) = timeout(first_byte, stream.read_buf(&mut bytes)).await else {
        return Ok(None);
    };
    if read? == 0 {
        return Ok(None);
    }
    let rest = async {
        while bytes.len() < PREFACE.len() && PREFACE.starts_with(&bytes) {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok::<_, io::Error>(None);
            }
        }
        let protocol = if bytes.starts_with(PREFACE) { Protocol::Http2 } else { Protocol::Http1 };
        Ok(Some(protocol))
    };
    match timeout(preface, rest).await {
        Ok(protocol) => Ok(protocol?.map(|protocol| (protocol, bytes.freeze()))),
        Err(_) => Ok(None),
    }
}
