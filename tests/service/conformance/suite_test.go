// Package conformance runs containerd's own snapshotter suite against a plugin's socket, or through
// containerd itself.
package conformance

import (
	"context"
	"os"
	"testing"

	"github.com/containerd/containerd"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/pkg/dialer"
	_ "github.com/containerd/containerd/pkg/testutil" // has -test.root
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"github.com/containerd/containerd/snapshots/testsuite"
	"google.golang.org/grpc"
)

func TestPlugin(t *testing.T) {
	socket := os.Getenv("SNAPSHOTTER_SOCKET")
	open := func(context.Context, string) (snapshots.Snapshotter, func() error, error) {
		conn, err := grpc.Dial(dialer.DialAddress(socket), grpc.WithInsecure(),
			grpc.WithContextDialer(dialer.ContextDialer))
		if err != nil {
			return nil, nil, err
		}
		client := snapshotsapi.NewSnapshotsClient(conn)
		return proxy.NewSnapshotter(client, "stratafs"), conn.Close, nil
	}
	testsuite.SnapshotterSuite(t, "stratafs", open)
}

// rooted keeps the garbage collector away, as the suite knows nothing of leases.
type rooted struct {
	snapshots.Snapshotter
}

func TestThroughContainerd(t *testing.T) {
	address := os.Getenv("CONTAINERD_ADDRESS")
	open := func(ctx context.Context, _ string) (snapshots.Snapshotter, func() error, error) {
		client, err := containerd.New(address, containerd.WithDefaultNamespace("conformance"))
		if err != nil {
			return nil, nil, err
		}
		inner := client.SnapshotService("stratafs")
		return &rooted{inner}, client.Close, nil
	}
	testsuite.SnapshotterSuite(t, "stratafs", open)
}


	return namespaces.WithNamespace(ctx, "conformance")
}
