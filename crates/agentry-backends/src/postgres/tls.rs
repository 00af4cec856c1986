//! TLS for connections to the server, by rustls. Certificates are always verified.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

#[derive(Clone)]
pub(super) struct Tls {
    connector: Option<TlsConnector>,
}

impl Tls {
    pub(super) fn none() -> Self {
        Self { connector: None }
    }

    /// Trusts the public authorities, or only those in the file.
    pub(super) fn verifying(authority: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match authority {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let problem =
                    |what: String| format!("the `sslrootcert` {}: {what}", path.display());
                let certificates = CertificateDer::pem_file_iter(path);
                for certificate in certificates.map_err(|it| problem(it.to_string()))? {
                    let certificate = certificate.map_err(|it| problem(it.to_string()))?;
                    roots.add(certificate).map_err(|it| problem(it.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(problem("there is no certificate in it".to_owned()));
                }
            }
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|problem| problem.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: Some(TlsConnector::from(Arc::new(config))) })
    }
}

type Problem = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send>>;

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Secured<S>;
    type TlsConnect = Handshake;
    type Error = Problem;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, Problem> {
        let Some(connector) = self.connector.clone() else { return Ok(Handshake { with: None }) };
        let name = ServerName::try_from(domain.to_owned())?;
        Ok(Handshake { with: Some((connector, name)) })
    }
}

pub(super) struct Handshake {
    with: Option<(TlsConnector, ServerName<'static>)>,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Secured<S>;
    type Error = Problem;
    type Future = Connecting<Secured<S>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Some((connector, name)) = self.with else {
                return Err(Problem::from("TLS is switched off by sslmode=disable"));
            };
            Ok(Secured(connector.connect(name, stream).await?))
        })
    }
}

pub(super) struct Secured<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Secured<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
