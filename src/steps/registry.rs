//! A registry over HTTP (OCI distribution spec 1.1), and the mirrors that are
//! asked before it.

mod download;
mod pace;
mod server;

use super::archive;
use super::halt::Halt;
use super::http::{Client, Method, Response, Tls, CERTS_DIR};
use super::resolver::Resolver;
use super::source::{Error, Fetched, Source};
use crate::proto::authfile::{self, Credentials};
use crate::proto::digest::Digest;
use crate::proto::mirror::Mirrors;
use crate::proto::oci::{self, Descriptor};
use crate::proto::proxy::Proxies;
use crate::proto::reference::Remote;
use crate::proto::retry::{self, Next, Policy, Retry};
use crate::report::Report;
use crate::sys::{io_text, machine};
use download::Download;
use server::{Ask, Server};
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The machine's own credentials, as podman login and docker login write them.
const AUTH_FILE: &str = "/etc/ocinit/auth.json";

/// How registries are met, whatever the image.
pub struct Manner<'a> {
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

impl Manner<'_> {
    fn client(&self) -> Client {
        let dirs = self.cert_dir.into_iter().chain([CERTS_DIR]).map(Into::into).collect();
        Client::new(self.resolver.clone(), self.proxies.clone(), Tls { verify: self.tls_verify, cert_dirs: dirs })
    }

    /// What the files know of a repository.
    fn credentials(&self, host: &str, path: &str) -> Result<Option<Credentials>, Error> {
        let file = self.authfile.unwrap_or(AUTH_FILE);
        let failed = |why: &str| Error::refused(&[file, ": ", why].concat());
        let mut bytes = Vec::new();
        match File::open(file) {
            Ok(open) => {
                let read = open.take(authfile::FILE_MAX as u64 + 1).read_to_end(&mut bytes);
                read.map_err(|error| failed(&io_text(&error)))?;
            }
            Err(_) if self.authfile.is_none() => return Ok(None),
            Err(error) => return Err(failed(&io_text(&error))),
        }
        let found = authfile::lookup(&bytes, host, path).map_err(|error| failed(&error.text()))?;
        if let Some(warning) = found.warning {
            self.report.warn("pull", [file, ": ", &warning].concat());
        }
        Ok(found.credentials)
    }
}

/// How long failures are borne with, and who says that it is enough.
#[derive(Clone)]
pub struct Patience {
    retry: Retry,
    halt: Halt,
    report: Report,
}

impl Patience {
    fn progress(&mut self) {
        self.retry.progress();
    }

    /// Waits before the next try; where there is none, the error is the last.
    fn wait(&mut self, error: Error) -> Result<(), Error> {
        let failure = retry::Failure { retry_after_s: error.retry_after_s };
        let next = match error.retry {
            true => self.retry.next(machine::uptime_ms(), &failure, random()),
            false => Next::GiveUp,
        };
        let Next::Wait { ms } = next else {
            // Whoever asked us need not try again.
            return Err(Error { retry: false, ..error });
        };
        let seconds = (ms + 500) / 1000;
        self.report.warn("pull", format_args!("{}; again in {seconds} s", error.text));
        match self.halt.wait(ms) {
            true => Ok(()),
            false => Err(Error { retry: false, ..Error::refused("given up") }),
        }
    }
}

/// Machines that were started together should not ask again together.
fn random() -> u8 {
    let mut byte = [0; 1];
    // Early in a boot there may be no random bytes: the clock's last digits do.
    match machine::random(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => machine::uptime_ms() as u8,
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
    halt: Halt,
    /// Something of the image has come.
    reached: AtomicBool,
    report: Report,
}

impl Registry {
    pub fn new(remote: &Remote, manner: &Manner) -> Result<Registry, Error> {
        let mut servers = Vec::new();
        for mirror in manner.mirrors.of(&remote.host) {
            // Its own: those of the registry are none of its business.
            let credentials = manner.credentials(&mirror.host, &remote.path)?;
            servers.push(Server::mirror(remote, mirror, credentials));
        }
        let credentials = match manner.creds {
            Some(creds) => Some(creds.clone()),
            None => manner.credentials(&remote.host, &remote.path)?,
        };
        servers.push(Server::registry(remote, manner.tls_verify, credentials));
        Ok(Registry(Arc::new(Shared {
            remote: remote.clone(),
            client: manner.client(),
            servers,
            policy: manner.retry,
            halt: Halt::default(),
            reached: AtomicBool::new(false),
            report: *manner.report,
        })))
    }

    /// A document in whole: one that is cut is asked for again.
    fn whole(&self, what: &str, accept: &str) -> Result<Vec<u8>, Error> {
        let shared = &self.0;
        let mut patience = shared.patience();
        loop {
            let answer = shared.ask(&Ask::get(what, accept));
            match answer.and_then(|answer| server::read_limited(answer, oci::DOCUMENT_MAX)) {
                Ok(document) => {
                    shared.reached.store(true, Ordering::Relaxed);
                    return Ok(document);
                }
                Err(error) => patience.wait(error)?,
            }
        }
    }
}

impl Shared {
    fn patience(&self) -> Patience {
        let mut retry = Retry::new(self.policy);
        if self.reached.load(Ordering::Relaxed) {
            retry.progress();
        }
        Patience { retry, halt: self.halt.clone(), report: self.report }
    }

    /// Asks one after the other until one answers with what was asked for. What
    /// the registry itself says is what counts.
    fn ask(&self, ask: &Ask) -> Result<Response, Error> {
        let (registry, mirrors) = match self.servers.split_last() {
            Some(servers) => servers,
            None => return Err(Error::refused("nobody to ask")),
        };
        for mirror in mirrors.iter().filter(|mirror| !mirror.is_down()) {
            match mirror.ask(&self.client, ask) {
                Ok(response) => return Ok(response),
                Err(error) => {
                    // It may not have the image, but where it cannot be reached it costs time with each request.
                    mirror.set_down(error.unreachable);
                    let name = mirror.mirror_name().unwrap_or_default();
                    self.report.warn("pull", format_args!("mirror {name}: {}; the next is asked", error.text));
                }
            }
        }
        let answer = registry.ask(&self.client, ask);
        if answer.as_ref().is_err_and(|error| error.unreachable) {
            // All are tried again after a while.
            mirrors.iter().for_each(|mirror| mirror.set_down(false));
        }
        answer
    }
}

impl Source for Registry {
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error> {
        let version = digest.map_or_else(|| self.0.remote.version(), Digest::text);
        self.whole(&["manifests/", &version].concat(), oci::ACCEPT)
    }

    fn wanted(&self) -> Option<Digest> {
        self.0.remote.digest
    }

    /// One HEAD request; none where the name itself says it.
    fn current(&mut self) -> Result<Option<Digest>, Error> {
        if let Some(digest) = self.0.remote.digest {
            return Ok(Some(digest));
        }
        let what = ["manifests/", &self.0.remote.version()].concat();
        let ask = Ask { method: Method::Head, ..Ask::get(&what, oci::ACCEPT) };
        let mut patience = self.0.patience();
        loop {
            match self.0.ask(&ask) {
                Ok(answer) => {
                    let digest = answer.headers.get("docker-content-digest");
                    return Ok(digest.and_then(|text| Digest::parse(text).ok()));
                }
                Err(error) => patience.wait(error)?,
            }
        }
    }

    fn signatures(&mut self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let tag = ["manifests/sha256-", &digest.hex(), ".sig"].concat();
        match self.whole(&tag, oci::ACCEPT) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.is_missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.whole(&["blobs/", &descriptor.digest.text()].concat(), "*/*")
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Fetched, Error> {
        let (shared, what) = (self.0.clone(), ["blobs/", &descriptor.digest.text()].concat());
        let patience = shared.patience();
        let open = move |from| shared.ask(&Ask { from, ..Ask::get(&what, "*/*") });
        Ok(Box::new(Download::start(Box::new(open), Some(descriptor.size), patience)?))
    }

    fn another(&self) -> Box<dyn Source> {
        Box::new(self.clone())
    }

    fn give_up(&self) {
        self.0.halt.raise();
    }
}

/// Opens what a URL names, which is no registry's.
pub fn opener(manner: &Manner) -> archive::Open {
    let (client, policy, report) = (manner.client(), manner.retry, *manner.report);
    Arc::new(move |url| {
        let (client, url) = (client.clone(), url.to_string());
        let patience = Patience { retry: Retry::new(policy), halt: Halt::default(), report };
        let mut version = None;
        let open = move |from| {
            let response = server::fetch(&client, &url, from)?;
            let tag = |name| response.headers.get(name).map(String::from);
            let is = tag("etag").or_else(|| tag("last-modified"));
            match version.replace(is.clone()) {
                Some(was) if was != is => Err(Error::refused("has changed while it was downloaded")),
                _ => Ok(response),
            }
        };
        Ok(Box::new(Download::start(Box::new(open), None, patience)?))
    })
}
