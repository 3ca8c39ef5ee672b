//! A client of Kubernetes' container runtime interface (`cri-api`, `runtime/v1/api.proto`): the calls
//! that the kubelet makes for a pod, with those fields that matter here.

use std::path::Path;

use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

/// The network of the machine (`NamespaceMode::NODE`): no network plugin is needed.
const NODE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct AuthConfig {
    #[prost(string, tag = "1")]
    username: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, Message)]
struct PullImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
    #[prost(message, optional, tag = "2")]
    auth: Option<AuthConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxSandbox {
    #[prost(message, optional, tag = "2")]
    security: Option<SandboxSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxSandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncRequest {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(string, repeated, tag = "2")]
    command: Vec<String>,
    /// In seconds.
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct CheckpointContainerRequest {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(string, tag = "2")]
    location: String,
    /// In seconds.
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncResponse {
    #[prost(bytes = "vec", tag = "1")]
    stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    stderr: Vec<u8>,
    #[prost(int32, tag = "3")]
    exit_code: i32,
}

/// A request or an answer that is one text: an identifier, a reference.
#[derive(Clone, PartialEq, Message)]
struct Name {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct FilesystemUsage {
    #[prost(message, optional, tag = "2")]
    id: Option<Name>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageFsInfoResponse {
    #[prost(message, repeated, tag = "1")]
    images: Vec<FilesystemUsage>,
}

#[derive(Clone, PartialEq, Message)]
struct ListImagesResponse {
    #[prost(message, repeated, tag = "1")]
    images: Vec<Name>,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Calls what is behind a socket.
pub struct Client {
    runtime: Runtime,
    channel: Channel,
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let socket = socket.to_owned();
        let dial = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = runtime.block_on(endpoint.connect_with_connector(dial)).unwrap();
        Self { runtime, channel }
    }

    pub fn call<A, B>(&self, path: &'static str, message: A) -> Result<B, Status>
    where
        A: Message + Send + Sync + 'static,
        B: Message + Default + Send + Sync + 'static,
    {
        let mut client = Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
            let codec = tonic_prost::ProstCodec::<A, B>::default();
            let path = PathAndQuery::from_static(path);
            Ok(client.unary(tonic::Request::new(message), path, codec).await?.into_inner())
        })
    }

    /// gRPC's health service.
    pub fn is_healthy(&self) -> bool {
        let answer: Result<HealthCheckResponse, _> =
            self.call("/grpc.health.v1.Health/Check", Nothing {});
        answer.unwrap().status == 1
    }

    /// Pulls as the kubelet does, with the secret of a pod if there is one.
    pub fn pull(&self, reference: &str, secret: Option<(&str, &str)>) -> Result<(), Status> {
        let auth = secret.map(|(username, password)| AuthConfig {
            username: username.to_owned(),
            password: password.to_owned(),
        });
        let (image, sandbox_config) = (Some(image(reference)), Some(pod_config()));
        let request = PullImageRequest { image, auth, sandbox_config };
        let _image: Name = self.call("/runtime.v1.ImageService/PullImage", request)?;
        Ok(())
    }

    pub fn remove_image(&self, reference: &str) {
        let request = ImageRequest { image: Some(image(reference)) };
        let _: Nothing = self.call("/runtime.v1.ImageService/RemoveImage", request).unwrap();
    }

    pub fn images(&self) -> usize {
        let listed: ListImagesResponse =
            self.call("/runtime.v1.ImageService/ListImages", Nothing {}).unwrap();
        listed.images.len()
    }

    /// Where the kubelet looks how full the disk of images is.
    pub fn image_folder(&self) -> String {
        let info: ImageFsInfoResponse =
            self.call("/runtime.v1.ImageService/ImageFsInfo", Nothing {}).unwrap();
        info.images.into_iter().find_map(|usage| Some(usage.id?.name)).unwrap()
    }

    /// A pod with a container that runs `command`; both their identifiers.
    pub fn start(&self, reference: &str, command: &[&str]) -> (String, String) {
        let config = pod_config();
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        let pod: Name = self.call("/runtime.v1.RuntimeService/RunPodSandbox", request).unwrap();
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "main".to_owned() }),
            image: Some(image(reference)),
            command: command.iter().map(|&word| word.to_owned()).collect(),
        };
        let request = CreateContainerRequest {
            pod: pod.name.clone(),
            config: Some(container),
            sandbox_config: Some(config),
        };
        let made: Name = self.call("/runtime.v1.RuntimeService/CreateContainer", request).unwrap();
        let _: Nothing =
            self.call("/runtime.v1.RuntimeService/StartContainer", made.clone()).unwrap();
        (pod.name, made.name)
    }

    /// What a command in the container prints.
    pub fn exec(&self, container: &str, script: &str) -> String {
        let request = ExecSyncRequest {
            container: container.to_owned(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: 60,
        };
        let said: ExecSyncResponse =
            self.call("/runtime.v1.RuntimeService/ExecSync", request).unwrap();
        assert_eq!(said.exit_code, 0, "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    /// Writes an archive of what the container changed and has in memory; it goes on.
    pub fn checkpoint(&self, container: &str, to: &Path) {
        let request = CheckpointContainerRequest {
            container: container.to_owned(),
            location: to.to_str().unwrap().to_owned(),
            timeout: 60,
        };
        let _: Nothing =
            self.call("/runtime.v1.RuntimeService/CheckpointContainer", request).unwrap();
    }

    /// Ends a pod with all that is in it.
    pub fn remove(&self, pod: &str) {
        for path in [
            "/runtime.v1.RuntimeService/StopPodSandbox",
            "/runtime.v1.RuntimeService/RemovePodSandbox",
        ] {
            let _: Nothing = self.call(path, Name { name: pod.to_owned() }).unwrap();
        }
    }
}

fn image(reference: &str) -> ImageSpec {
    ImageSpec { image: reference.to_owned() }
}

fn pod_config() -> PodSandboxConfig {
    let namespaces = Some(NamespaceOption { network: NODE });
    // Pods of parallel tests share nothing but the machine's cgroups.
    let unique = std::process::id();
    let metadata = Metadata {
        name: "pod".to_owned(),
        uid: format!("uid-{unique}"),
        namespace: "default".to_owned(),
    };
    PodSandboxConfig {
        metadata: Some(metadata),
        linux: Some(LinuxSandbox { security: Some(SandboxSecurity { namespaces }) }),
    }
}
