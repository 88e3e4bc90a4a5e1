//! TLS: trusted authorities and client certificates, for all hosts and for single ones.

use crate::files;
use crate::net::http::connection::Socket;
use crate::net::http::error::{failed, of_tls, tls_error, Error};
use crate::net::pure::http::Url;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A lab's own certificate authorities, from `ocinit-host build --ca`.
const CA_FILE: &str = "/etc/ocinit/ca.pem";
/// The same by host, and client certificates: `HOST[:PORT]/*.crt`, `*.cert` with `*.key`.
pub const CERTS_DIR: &str = "/etc/ocinit/certs.d";

/// The largest of bundles, Mozilla's, has 250 kB.
const PEM_MAX: u64 = 8 << 20;

/// How servers are verified, and how the client authenticates itself.
#[derive(Clone)]
pub struct Tls {
    /// Without it any certificate is accepted.
    pub verify: bool,
    /// Directories as in containers-certs.d(5): files in `DIR` itself are for every
    /// host, those in `DIR/HOST` or `DIR/HOST:PORT` for that one. `*.crt` are
    /// additional authorities, `NAME.cert` and `NAME.key` a client certificate.
    pub cert_dirs: Vec<PathBuf>,
    /// The server, `HOST[:PORT]`, that a client certificate in `DIR` itself is for; no other server is shown it.
    pub home: String,
}

/// TLS configurations; each set of certificate files is read once.
pub struct Configs {
    pub tls: Tls,
    made: Mutex<Vec<(Vec<PathBuf>, Arc<ClientConfig>)>>,
}

impl Configs {
    pub fn new(tls: Tls) -> Configs {
        Configs { tls, made: Mutex::new(Vec::new()) }
    }

    /// A session with the server of `url`, before its handshake.
    pub fn session(&self, url: &Url) -> Result<Box<ClientConnection>, Error> {
        let name = ServerName::try_from(url.host.to_string())
            .map_err(|_| tls_error([url.host, ": not a name that a certificate can have"].concat()))?;
        ClientConnection::new(self.config(url)?, name).map(Box::new).map_err(|error| of_tls(&error))
    }

    fn config(&self, url: &Url) -> Result<Arc<ClientConfig>, Error> {
        let files = self.files(url);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = made.iter().find(|(of, _)| *of == files) {
            return Ok(config.clone());
        }
        let config = Arc::new(self.make(&files)?);
        made.push((files, config.clone()));
        Ok(config)
    }

    /// The certificate files for the server of `url`: the host's own before those
    /// for all hosts, in each directory by name.
    fn files(&self, url: &Url) -> Vec<PathBuf> {
        let with_port = [url.host, ":", &url.port.to_string()].concat();
        let mut files = Vec::new();
        for dir in &self.tls.cert_dirs {
            // Of what a URL's host may hold, only dots at its start would lead to another directory.
            let own = [with_port.as_str(), url.host].into_iter().filter(|name| !name.starts_with('.'));
            for name in own {
                list(&dir.join(name), &["crt", "cert"], &mut files);
            }
            let kinds = if url.authority == self.tls.home { ["crt", "cert"].as_slice() } else { &["crt"] };
            list(dir, kinds, &mut files);
        }
        files
    }

    fn make(&self, files: &[PathBuf]) -> Result<ClientConfig, Error> {
        let provider = Arc::new(default_provider());
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| of_tls(&error))?;
        let builder = if self.tls.verify {
            builder.with_root_certificates(roots(files)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(schemes)))
        };
        match files.iter().find(|path| has_extension(path, "cert")) {
            None => Ok(builder.with_no_client_auth()),
            Some(path) => {
                let key_path = path.with_extension("key");
                let key = PrivateKeyDer::from_pem_slice(&read(&key_path)?)
                    .map_err(|_| unusable(&key_path, "holds no private key in PEM"))?;
                let chain = certificates(path)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| unusable(path, &error.to_string()))
            }
        }
    }
}

/// Completes the handshake, also one that ran out of time before.
pub fn handshake(session: &mut ClientConnection, socket: &mut Socket) -> Result<(), Error> {
    while session.is_handshaking() {
        session.complete_io(socket).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn list(dir: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for path in files::entries(dir) {
        if extensions.iter().any(|extension| has_extension(&path, extension)) {
            found.push(path);
        }
    }
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

/// The public authorities, the lab's, and the host's.
fn roots(files: &[PathBuf]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let lab = Path::new(CA_FILE);
    let lab = lab.exists().then_some(lab);
    let own = files.iter().map(PathBuf::as_path).filter(|path| has_extension(path, "crt"));
    for path in lab.into_iter().chain(own) {
        // A certificate of a bundle that is not an authority's is left out.
        store.add_parsable_certificates(certificates(path)?);
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    if certificates.is_empty() {
        return Err(unusable(path, "holds no certificate in PEM"));
    }
    Ok(certificates)
}

/// Reads a text in PEM. Some editors begin a text in UTF-8 with U+FEFF, which would hide the first block.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = files::read(path, PEM_MAX).map_err(|why| unusable(path, &why))?;
    match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(text) => Ok(text.into()),
        None => Ok(bytes),
    }
}

fn unusable(path: &Path, why: &str) -> Error {
    tls_error([&path.to_string_lossy(), ": ", why].concat())
}

/// Accepts any certificate: `--tls-verify=false`.
#[derive(Debug)]
struct AcceptAny(Vec<SignatureScheme>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
