//! Manifests, indexes and referrers (OCI distribution specification, "Pulling manifests" and
//! "Listing Referrers").

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LINK};
use reqwest::{Method, Response};
use serde::Deserialize;

use crate::content::{Descriptor, MAX_DOCUMENT, null_is_default};
use crate::digest::{Algorithm, Digest, Hasher};

use super::call::Call;
use super::endpoint::Endpoint;
use super::headers;
use super::repository::Inner;
use super::tries::Tries;
use super::{Error, Timing};

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const DOCKER_SCHEMA1_PLAIN: &str = "application/vnd.docker.distribution.manifest.v1+json";

/// The most pages of a list of referrers.
const MAX_PAGES: usize = 16;
/// The most entries of a list of referrers.
const MAX_REFERRERS: usize = 10_000;

/// Whether content of this type is found among a registry's manifests, rather than its blobs.
pub(super) fn is_document(media_type: &str) -> bool {
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX, DOCKER_SCHEMA1, DOCKER_SCHEMA1_PLAIN]
        .contains(&media_type)
}

/// A manifest or index with its digest, which is that of `data`.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) data: Vec<u8>,
}

impl Inner {
    /// Asks for the manifest or index `name`, a tag or digest, and checks it against `digest` or,
    /// where there is none, against what the registry says that it is.
    pub(super) async fn fetch_document(
        &self,
        name: &str,
        digest: Option<&Digest>,
    ) -> Result<Document, Error> {
        self.fetch_document_within(name, digest, self.shared.timing).await
    }

    pub(super) async fn fetch_document_within(
        &self,
        name: &str,
        digest: Option<&Digest>,
        timing: Timing,
    ) -> Result<Document, Error> {
        let servers =
            self.servers_for(|spec| if digest.is_some() { spec.pull } else { spec.resolve });
        if servers.is_empty() {
            let (host, action) = (self.reference.host().to_owned(), "resolve a name");
            return Err(Error::NoServer { host, action });
        }
        let call = self.manifest_call(Method::GET, name, "pull");
        let traffic = self.shared.traffic.clone();
        let mut tries = Tries::new(servers, &call.what, 0, timing, traffic);
        loop {
            let server = tries.next().await?;
            let outcome = async {
                let (response, _) = server.send(&call, tries.deadline).await?;
                self.receive(&server, &call, response, digest, &tries).await
            };
            match outcome.await {
                Ok(document) => {
                    server.worked();
                    return Ok(document);
                }
                Err(e) => tries.failed(&server, e)?,
            }
        }
    }

    pub(super) fn manifest_call(&self, method: Method, name: &str, actions: &str) -> Call {
        let repository = self.reference.repository();
        let path = format!("{repository}/manifests/{name}");
        let scope = format!("repository:{repository}:{actions}");
        let separator = if name.contains(':') { '@' } else { ':' };
        let what = format!("{}/{repository}{separator}{name}", self.reference.host());
        let types = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST, DOCKER_SCHEMA1, "*/*"];
        Call::new(method, path, scope, what).header(ACCEPT, &types.join(", "))
    }

    pub(super) fn tries(&self, servers: Vec<std::sync::Arc<Endpoint>>, what: &str) -> Tries {
        Tries::new(servers, what, 0, self.shared.timing, self.shared.traffic.clone())
    }

    async fn receive(
        &self,
        server: &Endpoint,
        call: &Call,
        response: Response,
        digest: Option<&Digest>,
        tries: &Tries,
    ) -> Result<Document, Error> {
        let said = digest_header(response.headers());
        let media_type = media_type_header(response.headers());
        let limit = usize::try_from(MAX_DOCUMENT).unwrap_or(usize::MAX);
        let data = server.document(response, &call.what, limit, tries.deadline).await?;
        let expected = digest.cloned().or(said);
        let algorithm = expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&data);
        let found = hasher.finish();
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(Error::DigestMismatch { expected, found, host: server.host() });
        }
        let media_type = media_type.filter(|t| is_document(t));
        let media_type = media_type.or_else(|| guess(&data)).ok_or_else(|| Error::BadAnswer {
            what: call.what.clone(),
            host: server.host(),
            reason: "it is neither a manifest nor an index".to_owned(),
        })?;
        Ok(Document { media_type, digest: found, data })
    }

    pub(super) async fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let listed = self.listed_referrers(digest, artifact_type);
        let tagged = self.tagged_referrers(digest);
        tokio::pin!(listed, tagged);
        // Both are asked at once: many registries have no such list, and a start waits for this.
        let mut early = None;
        let listed = loop {
            tokio::select! {
                biased;
                listed = &mut listed => break listed,
                found = &mut tagged, if early.is_none() => early = Some(found),
            }
        };
        let list = match listed {
            // How registries say that they have no such list.
            Err(Error::NotFound { .. } | Error::Status { .. } | Error::BadAnswer { .. }) => {
                match early {
                    Some(found) => found,
                    None => tagged.await,
                }
            }
            other => other,
        };
        let mut list = list?;
        list.retain(|d| artifact_type.is_none_or(|t| d.artifact_type.as_deref() == Some(t)));
        Ok(list)
    }

    async fn listed_referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let repository = self.reference.repository();
        let path = format!("{repository}/referrers/{digest}");
        let scope = format!("repository:{repository}:pull");
        let what = format!("referrers of {digest} in {}/{repository}", self.reference.host());
        let mut call = Call::new(Method::GET, path, scope, what).header(ACCEPT, OCI_INDEX);
        call.query.extend(artifact_type.map(|t| ("artifactType".to_owned(), t.to_owned())));
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let (page, next) = self.referrers_page(&call).await?;
            all.extend(page);
            match next {
                Some(next) if all.len() < MAX_REFERRERS => call.query = next,
                _ => break,
            }
        }
        all.truncate(MAX_REFERRERS);
        Ok(all)
    }

    /// One page of the list, and the query of the next.
    async fn referrers_page(
        &self,
        call: &Call,
    ) -> Result<(Vec<Descriptor>, Option<Vec<(String, String)>>), Error> {
        let mut tries = self.tries(self.servers_for(|spec| spec.pull), &call.what);
        loop {
            let server = tries.next().await?;
            let outcome = async {
                let (response, url) = server.send(call, tries.deadline).await?;
                let next = next_page(response.headers(), &url);
                let limit = usize::try_from(MAX_DOCUMENT).unwrap_or(usize::MAX);
                let data = server.document(response, &call.what, limit, tries.deadline).await?;
                let list = parse_index(&data).ok_or_else(|| Error::BadAnswer {
                    what: call.what.clone(),
                    host: server.host(),
                    reason: "it is no index".to_owned(),
                })?;
                Ok((list, next))
            };
            match outcome.await {
                Ok(page) => {
                    server.worked();
                    return Ok(page);
                }
                // No list here: that is for the caller, at once.
                Err(e @ Error::BadAnswer { .. }) => return Err(e),
                Err(e) => tries.failed(&server, e)?,
            }
        }
    }

    /// The list under the tag that the specification has for registries without the list.
    async fn tagged_referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        match self.fetch_document(&referrers_tag(digest), None).await {
            Ok(document) => Ok(parse_index(&document.data).unwrap_or_default()),
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }
}

/// The tag under which the referrers of `digest` are kept where the registry has no list of them.
pub(super) fn referrers_tag(digest: &Digest) -> String {
    // No more than 64 digits, as the specification has it.
    let mut hex = digest.hex();
    hex.truncate(64);
    format!("{}-{hex}", digest.algorithm().name())
}

/// The entries of an index; `None` for what is none.
pub(super) fn parse_index(data: &[u8]) -> Option<Vec<Descriptor>> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(deserialize_with = "null_is_default")]
        manifests: Vec<Descriptor>,
    }
    let value: serde_json::Value = serde_json::from_slice(data).ok()?;
    if !value.is_object() {
        return None;
    }
    Some(serde_json::from_value::<Index>(value).ok()?.manifests)
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

fn media_type_header(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_owned())
}

/// The query of the next page.
fn next_page(headers: &HeaderMap, url: &url::Url) -> Option<Vec<(String, String)>> {
    let target = headers::next_page(headers.get(LINK)?.to_str().ok()?)?;
    let target = url.join(target).ok()?;
    Some(target.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
}

/// The type of a document whose registry does not say, by its own words or else its shape.
fn guess(data: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(data).ok()?;
    if let Some(said) = value["mediaType"].as_str().filter(|said| is_document(said)) {
        return Some(said.to_owned());
    }
    let shapes = [("manifests", OCI_INDEX), ("config", OCI_MANIFEST), ("fsLayers", DOCKER_SCHEMA1)];
    let shape = shapes.into_iter().find(|(field, _)| value.get(field).is_some());
    shape.map(|(_, media_type)| media_type.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untyped_documents_are_known_by_their_words_or_shape() {
        let docker = format!(r#"{{"mediaType":"{DOCKER_INDEX}","manifests":[]}}"#);
        assert_eq!(guess(docker.as_bytes()).unwrap(), DOCKER_INDEX);
        assert_eq!(guess(br#"{"manifests":[]}"#).unwrap(), OCI_INDEX);
        assert_eq!(guess(br#"{"config":{}}"#).unwrap(), OCI_MANIFEST);
        assert_eq!(guess(br#"{"fsLayers":[]}"#).unwrap(), DOCKER_SCHEMA1);
        for other in [&b"[]"[..], b"{}", b"<html>", b""] {
            assert_eq!(guess(other), None);
        }
    }

    #[test]
    fn tags_for_referrers_are_tags() {
        let digest = Digest::sha256(b"x");
        let expected = format!("sha256-{}", digest.hex());
        assert_eq!(referrers_tag(&digest), expected);
        let long = Digest::from_bytes(Algorithm::Sha512, &[1; 64]).unwrap();
        assert_eq!(referrers_tag(&long), format!("sha512-{}", "01".repeat(32)));
    }

    #[test]
    fn pages_follow_their_link() {
        let url = url::Url::parse("https://r.example/v2/a/referrers/x?n=1").unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(next_page(&headers, &url), None);
        headers.insert(LINK, "</v2/a/referrers/x?n=1&last=b%2F>; rel=\"next\"".parse().unwrap());
        let query = next_page(&headers, &url).unwrap();
        assert_eq!(query, [("n".into(), "1".into()), ("last".into(), "b/".into())]);
    }
}
