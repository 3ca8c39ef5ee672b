// Package conformance runs containerd's own snapshotter suite against a plugin's socket, and
// through containerd itself.
package conformance

import (
	"context"
	"os"
	"testing"

	"github.com/containerd/containerd"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
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

func TestThroughContainerd(t *testing.T) {
	address := os.Getenv("CONTAINERD_ADDRESS")
	open := func(context.Context, string) (snapshots.Snapshotter, func() error, error) {
		client, err := containerd.New(address)
		if err != nil {
			return nil, nil, err
		}
		return client.SnapshotService("stratafs"), client.Close, nil
	}
	testsuite.SnapshotterSuite(t, "stratafs", open)
}
