// Times the calls of containerd's overlayfs snapshotter: overlayfs ROOT COUNT. Prints as
// examples/snapshot_rates.rs does.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/overlay"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func timed(name string, count int, call func(n int)) {
	start := time.Now()
	for n := 0; n < count; n++ {
		call(n)
	}
	fmt.Printf("%s %d %.6f\n", name, count, time.Since(start).Seconds())
}

func main() {
	ctx := context.Background()
	count, err := strconv.Atoi(os.Args[2])
	check(err)
	s, err := overlay.NewSnapshotter(os.Args[1], overlay.AsynchronousRemove)
	check(err)
	labels := map[string]string{}
	for n := 0; n < 5; n++ {
		labels[fmt.Sprintf("containerd.io/snapshot/label-%d", n)] = strings.Repeat("v", 80)
	}
	opt := snapshots.WithLabels(labels)
	_, err = s.Prepare(ctx, "base-key", "", opt)
	check(err)
	check(s.Commit(ctx, "base", "base-key", opt))
	key := func(n int) string { return fmt.Sprintf("key-%d", n) }
	name := func(n int) string { return fmt.Sprintf("name-%d", n) }
	timed("prepare", count, func(n int) { _, err := s.Prepare(ctx, key(n), "base", opt); check(err) })
	timed("mounts", count, func(n int) { _, err := s.Mounts(ctx, key(n)); check(err) })
	timed("usage", count, func(n int) { _, err := s.Usage(ctx, key(n)); check(err) })
	timed("commit", count, func(n int) { check(s.Commit(ctx, name(n), key(n), opt)) })
	timed("stat", count, func(n int) { _, err := s.Stat(ctx, name(n)); check(err) })
	walk := func(filters ...string) func(int) {
		return func(int) {
			check(s.Walk(ctx, func(context.Context, snapshots.Info) error { return nil }, filters...))
		}
	}
	timed("walk", 20, walk())
	timed("walk-filter", 20, walk(`labels."containerd.io/snapshot.ref"==sha256:5ae9,parent==""`))
	timed("remove", count, func(n int) { check(s.Remove(ctx, name(n))) })
	timed("cleanup", 1, func(int) { check(s.(snapshots.Cleaner).Cleanup(ctx)) })
}
