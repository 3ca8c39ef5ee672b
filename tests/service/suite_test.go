// Package conformance runs containerd's own snapshotter suite against a plugin's socket, and
// through containerd itself.
package conformance

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/containerd/containerd"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/mount"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/pkg/dialer"
	_ "github.com/containerd/containerd/pkg/testutil" // has -test.root
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"github.com/containerd/containerd/snapshots/testsuite"
	"github.com/containerd/continuity/fs/fstest"
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
	t.Run("RenameInSecondLayer", func(t *testing.T) {
		sn, end, err := open(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		rename(t, sn)
	})
}

// rename is what the suite of containerd 2 has as "Rename" and that of 1.6 skips: files that a second
// layer renames, also over others. (It leaves folders out for overlayfs, whose kernel may refuse those of lower layers.)
func rename(t *testing.T, sn snapshots.Snapshotter) {
	ctx := namespaces.WithNamespace(context.Background(), "rename")
	first := fstest.Apply(
		fstest.CreateDir("/folder", 0700),
		fstest.CreateDir("/files", 0700),
		fstest.CreateFile("/files/over", []byte("first"), 0644),
		fstest.CreateFile("/files/old", []byte("kept"), 0644),
	)
	second := fstest.Apply(
		fstest.CreateFile("/files/temporary", []byte("second"), 0644),
		fstest.Rename("/files/temporary", "/files/over"),
		fstest.Rename("/files/old", "/files/new"),
	)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	parent := ""
	for n, layer := range []fstest.Applier{first, second} {
		key, name := fmt.Sprintf("rename-active-%d", n), fmt.Sprintf("rename-%d", n)
		mounts, err := sn.Prepare(ctx, key, parent)
		check(err)
		check(mount.WithTempMount(ctx, mounts, layer.Apply))
		check(sn.Commit(ctx, name, key))
		parent = name
	}
	expected := t.TempDir()
	check(fstest.Apply(first, second).Apply(expected))
	mounts, err := sn.View(ctx, "rename-view", parent)
	check(err)
	check(mount.WithTempMount(ctx, mounts, func(root string) error {
		return fstest.CheckDirectoryEqual(root, expected)
	}))
	for _, key := range []string{"rename-view", "rename-1", "rename-0"} {
		check(sn.Remove(ctx, key))
	}
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
