package api

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// seen reads changes until one of a type, and is all that came.
func (st *stream) seen(kind, name string) []object {
	st.t.Helper()
	var all []object
	for {
		letter, _, message := st.next()
		if letter == 0 {
			st.t.Fatalf("the end came before %s of %s, after %d changes", kind, name, len(all))
		}
		all = append(all, message)
		if message["type"] == kind && (name == "" || message["path"] == name) {
			return all
		}
	}
}

func (s *server) watching(dir string) *stream {
	s.t.Helper()
	w := s.upgrade(at("/watch", "path", dir, "recursive", "true"), nil)
	w.expect("ready")
	return w
}

func TestNothingInNewFoldersIsMissed(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	w := s.watching(dir)
	var makers sync.WaitGroup
	wanted := map[string]int{}
	for maker := range 4 {
		for tree := range 40 {
			name := fmt.Sprintf("%s/%d-%d", dir, maker, tree)
			for _, below := range []string{"", "/a", "/a/b", "/a/b/c", "/a/file", "/a/b/file", "/a/b/c/file"} {
				wanted[name+below] = 0
			}
		}
		makers.Go(func() {
			for tree := range 40 {
				name := fmt.Sprintf("%s/%d-%d", dir, maker, tree)
				_ = os.MkdirAll(name+"/a/b/c", 0o755)
				for _, below := range []string{"/a/file", "/a/b/file", "/a/b/c/file"} {
					_ = os.WriteFile(name+below, nil, 0o644)
				}
			}
		})
	}
	makers.Wait()
	must(t, os.WriteFile(dir+"/last", nil, 0o644))
	for _, change := range w.seen("create", dir+"/last") {
		if change["type"] == "overflow" {
			t.Fatal("that was not so much")
		}
		if name, _ := change["path"].(string); change["type"] == "create" {
			wanted[name]++
		}
	}
	missed := 0
	for _, count := range wanted {
		if count == 0 {
			missed++
		}
	}
	if missed > 0 {
		t.Errorf("%d of %d were missed", missed, len(wanted))
	}
	// What was found there and is made again is told again.
	name := dir + "/0-0/a/b/c/file"
	must(t, os.Rename(name, dir+"/elsewhere"), os.WriteFile(name, nil, 0o644))
	w.seen("create", name)
}

func TestLostChangesAreTold(t *testing.T) {
	s := serve(t)
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/was/deep", 0o755))
	w := s.watching(dir)
	most := 0
	data, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	_, _ = fmt.Sscan(string(data), &most)
	// Nobody reads meanwhile: the kernel drops what comes, the new name of a folder too.
	long := strings.Repeat("n", 200)
	for n := range most/2 + 10_000 {
		name := fmt.Sprintf("%s/was/%s%d", dir, long, n)
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(name)
	}
	must(t, os.Rename(dir+"/was", dir+"/is"))
	lost := w.seen("overflow", "")
	if reason := lost[len(lost)-1]["reason"]; reason != "too_many_changes" {
		t.Errorf("%v", reason)
	}
	must(t, os.WriteFile(dir+"/is/deep/file", nil, 0o644))
	w.seen("create", dir+"/is/deep/file")
}

func TestTheEndOfWhatIsWatchedIsTold(t *testing.T) {
	s := serve(t)
	ends := map[string]func(string) error{
		"deleted": os.RemoveAll, "moved": func(dir string) error { return os.Rename(dir, filepath.Dir(dir)+"/other") },
	}
	for reason, end := range ends {
		dir := t.TempDir() + "/watched"
		must(t, os.MkdirAll(dir+"/in/side", 0o755))
		w := s.watching(dir)
		must(t, end(dir))
		w.seen("delete", dir)
		if told := w.expect("end"); told["reason"] != reason {
			t.Errorf("%s: %v", reason, told)
		}
		if letter, _, _ := w.next(); letter != 0 {
			t.Errorf("%s: the stream goes on", reason)
		}
	}
}

// TestNoMoreWatches runs the next one where the kernel gives no more than a few.
func TestNoMoreWatches(t *testing.T) {
	inner := exec.Command(os.Args[0], "-test.run=^TestWithFewWatches$", "-test.v")
	inner.Env = append(os.Environ(), "FEW_WATCHES=1", "TMPDIR="+t.TempDir())
	inner.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	told, err := inner.CombinedOutput()
	if (err != nil && len(told) == 0) || strings.Contains(string(told), "--- SKIP: TestWithFewWatches") {
		t.Skipf("no user namespace with a limit of its own can be had: %v %s", err, told)
	}
	if err != nil || !strings.Contains(string(told), "--- PASS: TestWithFewWatches") {
		t.Fatalf("%v: %s", err, told)
	}
}

func TestWithFewWatches(t *testing.T) {
	if os.Getenv("FEW_WATCHES") == "" {
		t.Skip("run by TestNoMoreWatches")
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("5"), 0); err != nil {
		t.Skip(err)
	}
	s := serve(t)
	dir := t.TempDir()
	w := s.watching(dir)
	must(t, os.MkdirAll(dir+"/1/2/3/4/5/6", 0o755))
	lost := w.seen("overflow", "")
	if reason := lost[len(lost)-1]["reason"]; reason != "too_many_folders" {
		t.Errorf("%v", lost)
	}
	// What is watched goes on, and who wants more is refused.
	must(t, os.WriteFile(dir+"/file", nil, 0o644))
	w.seen("create", dir+"/file")
	a := s.call("GET", at("/watch", "path", dir, "recursive", "true"), nil, "Connection: Upgrade", "Upgrade: rexec-stream")
	if a.status != 503 || a.code(t) != "too_busy" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
