//! A registry over HTTP (OCI distribution spec 1.1), and its mirrors, which are tried first.

mod answer;
mod document;
mod download;
mod min_rate;
mod retry_state;
mod server;
pub mod url_document;

use crate::files;
use crate::image::pure::authfile::{self, Credentials};
use crate::image::pure::mirror::Mirrors;
use crate::image::pure::oci::{self, Descriptor};
use crate::image::pure::reference::Remote;
use crate::image::pure::retry::Policy;
use crate::image::registry::download::Download;
use crate::image::registry::retry_state::{cancelled, RetryState};
use crate::image::registry::server::{Ask, Server};
use crate::image::source::{BlobReader, Error, Kind, OpenUrl, Retries, Source};
use crate::net::dns::Resolver;
use crate::net::http::{Client, Method, Response, Tls, CERTS_DIR};
use crate::net::pure::proxy::Proxies;
use crate::pure::digest::Digest;
use crate::report::Report;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The machine's credentials, in the format of podman login and docker login.
const AUTH_FILE: &str = "/etc/ocinit/auth.json";

/// Settings of the registry client.
pub struct ClientConfig<'a> {
    pub resolver: Arc<Resolver>,
    pub proxies: Proxies,
    pub mirrors: &'a Mirrors,
    pub tls_verify: bool,
    pub cert_dir: Option<&'a str>,
    pub creds: Option<&'a Credentials>,
    pub authfile: Option<&'a str>,
    pub retry: Policy,
    pub report: &'a Report,
}

impl ClientConfig<'_> {
    fn client(&self, home: &str) -> Client {
        let dirs = self.cert_dir.into_iter().chain([CERTS_DIR]).map(Into::into).collect();
        let tls = Tls { verify: self.tls_verify, cert_dirs: dirs, home: home.into() };
        Client::new(self.resolver.clone(), self.proxies.clone(), tls)
    }

    /// The credentials that the file has for a repository.
    fn credentials(&self, host: &str, path: &str) -> Result<Option<Credentials>, Error> {
        let file = self.authfile.unwrap_or(AUTH_FILE);
        let failed = |why: &str| Error::refused(&[file, ": ", why].concat());
        if self.authfile.is_none() && !Path::new(file).exists() {
            return Ok(None);
        }
        let bytes = files::read(Path::new(file), authfile::FILE_MAX as u64).map_err(|why| failed(&why))?;
        let found = authfile::lookup(&bytes, host, path).map_err(|error| failed(&error.text()))?;
        if let Some(warning) = found.warning {
            self.report.warn("pull", [file, ": ", &warning].concat());
        }
        Ok(found.credentials)
    }
}

/// The registry of one image. Clones share their state.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    remote: Remote,
    client: Client,
    /// The mirrors, and last the registry itself.
    servers: Vec<Server>,
    policy: Policy,
    /// A document of the image was received.
    reached: AtomicBool,
    /// The image is stored, so a server that fails is not waited for.
    prefers_cached: AtomicBool,
    /// The paths that were requested.
    asked: Mutex<Vec<String>>,
    report: Report,
}

impl Registry {
    pub fn new(remote: &Remote, config: &ClientConfig) -> Result<Registry, Error> {
        let mut servers = Vec::new();
        for mirror in config.mirrors.of(&remote.host) {
            // A mirror gets its own credentials, never those of the registry.
            let credentials = config.credentials(&mirror.host, &remote.path)?;
            servers.push(Server::mirror(remote, mirror, credentials));
        }
        let credentials = match config.creds {
            Some(creds) => Some(creds.clone()),
            None => config.credentials(&remote.host, &remote.path)?,
        };
        servers.push(Server::registry(remote, config.tls_verify, credentials));
        Ok(Registry(Arc::new(Shared {
            remote: remote.clone(),
            client: config.client(remote.server()),
            servers,
            policy: config.retry,
            reached: AtomicBool::new(false),
            prefers_cached: AtomicBool::new(false),
            asked: Mutex::default(),
            report: *config.report,
        })))
    }

    /// Reads a document to its end; one that is cut is retried.
    fn fetch_document(&self, path: &str, accept: &str) -> Result<Vec<u8>, Error> {
        let shared = &self.0;
        let (mut retry_state, is_repeated) = (shared.retry_state(), shared.was_requested(path));
        loop {
            let read = shared.ask(&Ask::get(path, accept), is_repeated).and_then(|(answer, index)| {
                let read = document::read_limited(answer, oci::DOCUMENT_MAX);
                if read.is_err() {
                    shared.mark_down(index);
                }
                read.map_err(|error| error.context(&[path]))
            });
            match read {
                Ok(document) => {
                    shared.reached.store(true, Ordering::Relaxed);
                    return Ok(document);
                }
                Err(error) => retry_state.wait(error)?,
            }
        }
    }
}

impl Shared {
    fn retry_state(&self) -> RetryState {
        let mut state = RetryState::new(self.policy, self.client.cancel_token().clone(), self.report);
        if self.prefers_cached.load(Ordering::Relaxed) {
            state.retry.prefer_cached();
        }
        if self.reached.load(Ordering::Relaxed) {
            state.retry.progress();
        }
        state
    }

    /// Sends the request to one server after the other until one succeeds; returns its answer and its index. If all
    /// fail, the error is that of the registry itself; it may be retried if a mirror may succeed the next time.
    /// `is_repeated`: what the first server sent before was wrong, so the registry is tried first.
    fn ask(&self, ask: &Ask, is_repeated: bool) -> Result<(Response, usize), Error> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        if is_repeated {
            order.reverse();
        }
        let is_down = |index: &usize| self.servers.get(*index).is_some_and(Server::is_down);
        let (down, mut order): (Vec<usize>, Vec<usize>) = order.into_iter().partition(is_down);
        order.extend(down);
        let mut answer = Err(Error::refused("no server to ask"));
        let mut retries = Retries::None;
        for index in order {
            if self.client.cancel_token().is_cancelled() {
                return Err(cancelled());
            }
            let Some(server) = self.servers.get(index) else { continue };
            let mirror = server.mirror_name();
            // One that is skipped may be there again by now: it is asked before nobody answers.
            if is_down(&index) && !answer.as_ref().is_err_and(Error::is_unreachable) {
                retries = Retries::Patient;
                continue;
            }
            let error = match server.ask(&self.client, ask) {
                Ok(response) => return Ok((response, index)),
                Err(error) => error,
            };
            let Some(name) = mirror else {
                answer = Err(error);
                continue;
            };
            if error.is_unreachable() {
                server.mark_down();
            }
            retries = retries.max(error.retries());
            self.report.warn("pull", format_args!("mirror {name}: {}; asking the next server", error.text));
        }
        answer.map_err(|mut error| {
            if retries > Retries::None {
                error.kind = Kind::Unreachable { retries: retries.max(error.retries()), status: error.status() };
            }
            error
        })
    }

    /// Skips a mirror for a while whose answer was cut.
    fn mark_down(&self, index: usize) {
        if let Some(server) = self.servers.get(index).filter(|server| server.mirror_name().is_some()) {
            server.mark_down();
        }
    }

    /// Whether `path` was requested before. Then the first answer was wrong, since a good one is not requested twice.
    fn was_requested(&self, path: &str) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let was_requested = asked.iter().any(|known| known == path);
        if !was_requested {
            asked.push(path.into());
        }
        was_requested
    }
}

impl Source for Registry {
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error> {
        let version = digest.map_or_else(|| self.0.remote.version(), Digest::text);
        self.fetch_document(&["manifests/", &version].concat(), oci::ACCEPT)
    }

    fn pinned_digest(&self) -> Option<Digest> {
        self.0.remote.digest
    }

    /// Sends one HEAD request, or none if the name has a digest.
    fn current(&mut self) -> Result<Option<Digest>, Error> {
        if let Some(digest) = self.0.remote.digest {
            return Ok(Some(digest));
        }
        let path = ["manifests/", &self.0.remote.version()].concat();
        let ask = Ask { method: Method::Head, ..Ask::get(&path, oci::ACCEPT) };
        let mut retry_state = self.0.retry_state();
        loop {
            match self.0.ask(&ask, false) {
                Ok((answer, _)) => {
                    let digest = answer.headers.get("docker-content-digest");
                    return Ok(digest.and_then(|text| Digest::parse(text).ok()));
                }
                // Some servers do not support HEAD: the GET request that follows shows whether that is the reason.
                Err(error) if error.status().is_some() => return Ok(None),
                Err(error) => retry_state.wait(error)?,
            }
        }
    }

    fn signatures(&mut self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let tag = ["manifests/sha256-", &digest.hex(), ".sig"].concat();
        match self.fetch_document(&tag, oci::ACCEPT) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.fetch_document(&["blobs/", &descriptor.digest.text()].concat(), "*/*")
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        let (shared, path) = (self.0.clone(), ["blobs/", &descriptor.digest.text()].concat());
        let (retry_state, is_repeated) = (shared.retry_state(), shared.was_requested(&path));
        let mut last = None;
        let open = move |from: u64, progress: bool| {
            if let Some(index) = last.filter(|_| !progress) {
                shared.mark_down(index);
            }
            let (response, index) = shared.ask(&Ask { from, ..Ask::get(&path, "*/*") }, is_repeated)?;
            last = Some(index);
            Ok(response)
        };
        Ok(Box::new(Download::start(Box::new(open), Some(descriptor.size), retry_state)?))
    }

    fn clone_box(&self) -> Box<dyn Source> {
        Box::new(self.clone())
    }

    fn prefer_cached(&mut self) {
        self.0.prefers_cached.store(true, Ordering::Relaxed);
    }

    fn cancel(&self) {
        self.0.client.cancel_token().cancel();
    }
}

/// Opens URLs that are not those of a registry.
pub fn opener(config: &ClientConfig) -> OpenUrl {
    let (client, policy, report) = (config.client(""), config.retry, *config.report);
    Arc::new(move |url| {
        let (client, url) = (client.clone(), url.to_string());
        let retry_state = RetryState::new(policy, client.cancel_token().clone(), report);
        let mut version = None;
        let open = move |from, _| {
            let response = server::fetch(&client, &url, from)?;
            let tag = |name| response.headers.get(name).map(String::from);
            let is = tag("etag").or_else(|| tag("last-modified"));
            match version.replace(is.clone()) {
                Some(was) if was != is => Err(Error::refused("has changed during the download")),
                _ => Ok(response),
            }
        };
        Ok(Box::new(Download::start(Box::new(open), None, retry_state)?))
    })
}
