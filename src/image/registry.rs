//! A registry over HTTP (OCI distribution spec 1.1), and the mirrors that are
//! asked before it.

mod download;
mod min_rate;
mod retry_state;
mod server;

use crate::files;
use crate::image::pure::authfile::{self, Credentials};
use crate::image::pure::mirror::Mirrors;
use crate::image::pure::oci::{self, Descriptor};
use crate::image::pure::reference::Remote;
use crate::image::pure::retry::{Policy, Retry};
use crate::image::registry::download::Download;
use crate::image::registry::retry_state::{given_up, RetryState};
use crate::image::registry::server::{Ask, Server};
use crate::image::source::{BlobReader, Error, Kind, OpenUrl, Source};
use crate::net::dns::Resolver;
use crate::net::http::{Client, Method, Response, Tls, CERTS_DIR};
use crate::net::pure::proxy::Proxies;
use crate::pure::digest::Digest;
use crate::report::Report;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The machine's own credentials, as podman login and docker login write them.
const AUTH_FILE: &str = "/etc/ocinit/auth.json";

/// How registries are asked, whatever the image.
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

    /// What the files know of a repository.
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

/// One image's registry. Clones share all they learn.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    remote: Remote,
    client: Client,
    /// The mirrors, and last the registry itself.
    servers: Vec<Server>,
    policy: Policy,
    /// Something of the image has come.
    reached: AtomicBool,
    /// The image is stored.
    prefers_cached: AtomicBool,
    /// What was asked for.
    asked: Mutex<Vec<String>>,
    report: Report,
}

impl Registry {
    pub fn new(remote: &Remote, config: &ClientConfig) -> Result<Registry, Error> {
        let mut servers = Vec::new();
        for mirror in config.mirrors.of(&remote.host) {
            // Its own: those of the registry are none of its business.
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

    /// A document in whole: one that is cut is asked for again.
    fn whole(&self, path: &str, accept: &str) -> Result<Vec<u8>, Error> {
        let shared = &self.0;
        let (mut retry_state, again) = (shared.retry_state(), shared.is_again(path));
        loop {
            let read = shared.ask(&Ask::get(path, accept), again).and_then(|(answer, index)| {
                let read = server::read_limited(answer, oci::DOCUMENT_MAX);
                if read.is_err() {
                    shared.mark_down(index);
                }
                read.map_err(|error| Error { text: [path, ": ", &error.text].concat(), ..error })
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
        let mut retry = Retry::new(self.policy);
        if self.prefers_cached.load(Ordering::Relaxed) {
            retry.prefer_cached();
        }
        if self.reached.load(Ordering::Relaxed) {
            retry.progress();
        }
        RetryState { retry, cancel: self.client.cancel_token().clone(), report: self.report }
    }

    /// Asks one after the other until one answers with what was asked for: the
    /// answer, and who gave it. What the registry itself says is what counts,
    /// but for a mirror that may say otherwise the next time.
    fn ask(&self, ask: &Ask, again: bool) -> Result<(Response, usize), Error> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        // What came last from a mirror was wrong.
        if again {
            order.reverse();
        }
        let mut answer = Err(Error::refused("no server to ask"));
        let mut hope = false;
        for index in order {
            if self.client.cancel_token().is_cancelled() {
                return Err(given_up());
            }
            let Some(server) = self.servers.get(index) else { continue };
            let mirror = server.mirror_name();
            if mirror.is_some() && server.is_down() {
                hope = true;
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
            hope |= error.may_heal();
            self.report.warn("pull", format_args!("mirror {name}: {}; asking the next server", error.text));
        }
        answer.map_err(|error| match hope {
            true => Error { kind: Kind::Unreachable { again: true, status: error.status() }, ..error },
            false => error,
        })
    }

    /// A mirror whose answer broke off is not asked for the rest of it.
    fn mark_down(&self, index: usize) {
        if let Some(server) = self.servers.get(index).filter(|server| server.mirror_name().is_some()) {
            server.mark_down();
        }
    }

    /// Whether that was asked for before: what came then was not what it should be.
    fn is_again(&self, path: &str) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let again = asked.iter().any(|known| known == path);
        if !again {
            asked.push(path.into());
        }
        again
    }
}

impl Source for Registry {
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error> {
        let version = digest.map_or_else(|| self.0.remote.version(), Digest::text);
        self.whole(&["manifests/", &version].concat(), oci::ACCEPT)
    }

    fn pinned_digest(&self) -> Option<Digest> {
        self.0.remote.digest
    }

    /// One HEAD request; none where the name itself says it.
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
                // Some servers cannot do HEAD: GET tells whether it is that.
                Err(error) if error.status().is_some() => return Ok(None),
                Err(error) => retry_state.wait(error)?,
            }
        }
    }

    fn signatures(&mut self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let tag = ["manifests/sha256-", &digest.hex(), ".sig"].concat();
        match self.whole(&tag, oci::ACCEPT) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.whole(&["blobs/", &descriptor.digest.text()].concat(), "*/*")
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        let (shared, path) = (self.0.clone(), ["blobs/", &descriptor.digest.text()].concat());
        let (retry_state, again) = (shared.retry_state(), shared.is_again(&path));
        let mut last = None;
        let open = move |from: u64, progress: bool| {
            if let Some(index) = last.filter(|_| !progress) {
                shared.mark_down(index);
            }
            let (response, index) = shared.ask(&Ask { from, ..Ask::get(&path, "*/*") }, again)?;
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

    fn give_up(&self) {
        self.0.client.cancel_token().cancel();
    }
}

/// Opens what a URL names, which is no registry's.
pub fn opener(config: &ClientConfig) -> OpenUrl {
    let (client, policy, report) = (config.client(""), config.retry, *config.report);
    Arc::new(move |url| {
        let (client, url) = (client.clone(), url.to_string());
        let retry_state = RetryState { retry: Retry::new(policy), cancel: client.cancel_token().clone(), report };
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
