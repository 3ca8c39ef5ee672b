//! Images and leases.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use prost_types::FieldMask;

use super::{Containerd, Error, failed, header};
use crate::content::Descriptor;
use crate::error::{Classify, Kind};
use crate::service::api::images::images_client::ImagesClient;
use crate::service::api::images::{CreateImageRequest, Image, UpdateImageRequest};
use crate::service::api::leases::leases_client::LeasesClient;
use crate::service::api::leases::{CreateRequest, DeleteRequest};
use crate::service::api::types;
use crate::service::api::version::version_client::VersionClient;

/// The label with the time when a lease ends by itself.
const EXPIRE: &str = "containerd.io/gc.expire";

impl Containerd {
    /// The version of containerd, as it says it.
    pub(in crate::service) async fn version(&self) -> Result<String, Error> {
        let mut client = VersionClient::new(self.channel.clone());
        let answer = client.version(self.request(())).await.map_err(failed("version"))?;
        Ok(answer.into_inner().version)
    }

    /// The same client, whose objects are kept for `length`, or until [`Containerd::end_lease`].
    pub(in crate::service) async fn leased(&self, length: Duration) -> Result<Self, Error> {
        let end = jiff::Timestamp::try_from(SystemTime::now() + length);
        let end = end.map(|end| end.to_string()).unwrap_or_default();
        let labels = HashMap::from([(EXPIRE.to_owned(), end)]);
        let request = CreateRequest { id: String::new(), labels };
        let mut client = LeasesClient::new(self.channel.clone());
        let answer = client.create(self.request(request)).await.map_err(failed("create lease"))?;
        let id = answer.into_inner().lease.unwrap_or_default().id;
        Ok(Self { lease: Some(header(&id)?), ..self.clone() })
    }

    /// Ends the lease of this client; its objects stay where something needs them.
    pub(in crate::service) async fn end_lease(&self) -> Result<(), Error> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let id = lease.to_str().unwrap_or_default().to_owned();
        let request = self.request(DeleteRequest { id, sync: false });
        let mut client = LeasesClient::new(self.channel.clone());
        client.delete(request).await.map_err(failed("delete lease"))?;
        Ok(())
    }

    /// Makes `name` the name of `target`, whatever it was before.
    pub(in crate::service) async fn set_image(
        &self,
        name: &str,
        target: &Descriptor,
    ) -> Result<(), Error> {
        let image =
            Image { name: name.to_owned(), target: Some(descriptor(target)), ..Image::default() };
        let mut client = ImagesClient::new(self.channel.clone());
        let request = CreateImageRequest { image: Some(image.clone()) };
        let created = client.create(self.request(request)).await.map_err(failed("create image"));
        match created {
            Err(e) if e.kind() == Kind::AlreadyExists => {}
            other => return other.map(drop),
        }
        let update_mask = Some(FieldMask { paths: vec!["target".to_owned()] });
        let request = UpdateImageRequest { image: Some(image), update_mask };
        client.update(self.request(request)).await.map_err(failed("update image")).map(drop)
    }
}

/// A descriptor as a message.
pub(super) fn descriptor(descriptor: &Descriptor) -> types::Descriptor {
    let annotations: BTreeMap<_, _> = descriptor.annotations.clone();
    types::Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        annotations: annotations.into_iter().collect(),
    }
}
