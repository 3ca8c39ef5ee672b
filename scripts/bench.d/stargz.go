// The daemon of stargz-snapshotter with its defaults, of the sources that Debian packages without
// it: stargz SOCKET ROOT. Its own main needs the interface of Kubernetes, which is not packaged.
package main

import (
	"context"
	"net"
	"os"
	"path/filepath"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/reference"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/containerd/stargz-snapshotter/fs"
	"github.com/containerd/stargz-snapshotter/fs/config"
	"github.com/containerd/stargz-snapshotter/fs/layer"
	"github.com/containerd/stargz-snapshotter/fs/source"
	"github.com/containerd/stargz-snapshotter/snapshot"
	"github.com/hashicorp/go-retryablehttp"
	"google.golang.org/grpc"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx, root := context.Background(), os.Args[2]
	client := retryablehttp.NewClient()
	client.Logger = nil
	registries := docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost),
		docker.WithClient(client.StandardClient()))
	hosts := func(ref reference.Spec) ([]docker.RegistryHost, error) {
		return registries(ref.Hostname())
	}
	filesystem, err := fs.NewFilesystem(filepath.Join(root, "stargz"), config.Config{},
		fs.WithGetSources(source.FromDefaultLabels(hosts)),
		fs.WithOverlayOpaqueType(layer.OverlayOpaqueTrusted))
	check(err)
	snapshotter, err := snapshot.NewSnapshotter(ctx, filepath.Join(root, "snapshotter"), filesystem,
		snapshot.AsynchronousRemove)
	check(err)
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	listener, err := net.Listen("unix", os.Args[1])
	check(err)
	check(server.Serve(listener))
}
